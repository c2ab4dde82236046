"""Export of a run's pictures in the two forms that the library `datasets` loads: ImageFolder and Parquet.

ImageFolder is a folder for the split with the pictures and a metadata.jsonl, of which each line has a `file_name` and
the fields of `row_of`. Parquet has the same fields beside the picture's bytes, and says in its schema which column is a
picture. Damaged pictures and unfinished samples are left out, as in the official layouts.
"""

from __future__ import annotations

import contextlib
import filecmp
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from milr.runs.config import RunConfig
from milr.runs.files import PARTIAL, remove_leftovers
from milr.runs.layouts import PICTURES, ExportTally, Picture, checked_name, finished_pictures
from milr.runs.planned_files import TEMPORARY_PREFIX, check_only_planned, write_plan
from milr.runs.record_files import read_picture
from milr.runs.records import Record, StepRecord
from milr.runs.store import RunStore, name_of
from milr.types import MissingError, UsageError

SPLITS = ("train", "validation", "test")  # the names that `datasets` takes a folder or file for a split by
ROWS_AT_ONCE = 100  # of a Parquet file's row group: what a reader holds in memory for one picture
MAX_INT64 = 2**63 - 1
FIELDS: Mapping[str, str] = {
    "prompt": "string", "id": "string", "category": "string", "sample": "int64", "seed": "int64", "score": "float64",
    "judged": "float64", "step": "int64", "visualisation": "string", "method": "string", "model": "string",
}  # fmt: skip


def export_dataset(folder: Path, records: Sequence[Record], *, layout: str, to: Path, picture: Picture = "returned",
                   split: str = "train") -> ExportTally:  # fmt: skip
    """Write one picture of every finished sample of the run in `folder` below `to`, as the `layout` "imagefolder" or
    "parquet" has it.

    The rows are in the order of the prompts. The same call continues after an interruption; UsageError where `to` holds
    any other file. MissingError where Parquet is asked for and pyarrow is absent.
    """
    write = DATASET_LAYOUTS[checked_name("layout", layout, DATASET_LAYOUTS)]
    checked_name("split", split, SPLITS)
    store, choose = RunStore(folder), PICTURES[checked_name("picture", picture, PICTURES)]
    run = store.run()
    pictures = finished_pictures(folder, records, choose)
    finished = [
        record for record in store.in_prompt_order(records) if name_of(record.prompt, record.sample) in pictures
    ]
    if not finished:
        raise UsageError(f"{folder} has no finished sample to export: the command that made the run goes on with it.")
    steps = [choose(record) for record in finished]
    rows = [{"name": f"{name_of(record.prompt, record.sample)}.png", **row_of(run.config, record, step)}
            for record, step in zip(finished, steps, strict=True)]  # fmt: skip
    write(folder, steps, rows, to=to, split=split)
    return ExportTally(len(rows), run.num_samples - len(rows), to)


def row_of(config: RunConfig, record: Record, step: StepRecord) -> dict[str, Any]:
    """What a dataset says of a step's picture, by the names of FIELDS.

    `score` is the search reward's and `judged` the report metric's; None is unscored or, for `judged`, not asked. A
    seed that 64 bits do not hold is a text.
    """
    seed = record.seed
    return {
        "prompt": record.prompt.text,
        "id": record.prompt.id,
        "category": record.prompt.category,
        "sample": record.sample,
        "seed": seed if _fits(seed) else str(seed),
        "score": step.score,
        "judged": step.judged.score if step.judged else None,
        "step": step.index,
        "visualisation": step.visualisation,
        "method": config.method,
        "model": config.model,
    }


def _fits(number: int) -> bool:
    return -MAX_INT64 <= number <= MAX_INT64


Rows = Sequence[dict[str, Any]]  # `name` of the picture's file, then the fields


def _write_imagefolder(folder: Path, steps: Sequence[StepRecord], rows: Rows, *, to: Path, split: str) -> None:
    lines = []
    plan: dict[str, Path | bytes] = {}
    for step, row in zip(steps, rows, strict=True):
        fields = dict(row)
        file_name = fields.pop("name")
        plan[f"{split}/{file_name}"] = folder / step.picture
        lines.append(json.dumps({"file_name": file_name, **fields}) + "\n")
    plan[f"{split}/metadata.jsonl"] = "".join(lines).encode()
    write_plan(plan, to, lambda done, total: None)


# --- Parquet


def _write_parquet(folder: Path, steps: Sequence[StepRecord], rows: Rows, *, to: Path, split: str) -> None:
    """Write a temporary file, then rename it; a file that is there already must have the same bytes."""
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingError("the layout parquet needs the package pyarrow: pip install 'milr[datasets]'.")
    name = f"data/{split}-00000-of-00001.parquet"
    target = to / name
    temporary = target.with_name(f".{TEMPORARY_PREFIX}{os.getpid()}{PARTIAL}")
    try:
        check_only_planned({name: None}, {".", "data"}, to)  # its bytes are compared below
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, f"{TEMPORARY_PREFIX}*")
        _write_table(temporary, folder, steps, rows)
        if target.exists() and not filecmp.cmp(temporary, target, shallow=False):
            raise UsageError(f"{to} holds {name}, which is not what this export writes there: choose an empty --to.")
        temporary.replace(target)
    except OSError as error:
        raise UsageError(f"{to} cannot be written ({error.strerror or error}): mend that, or choose another --to."
                         ) from error  # fmt: skip
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_table(path: Path, folder: Path, steps: Sequence[StepRecord], rows: Rows) -> None:
    from pyarrow import parquet

    schema = _schema(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(folder, steps, rows):
            writer.write_batch(_record_batch(batch, schema), row_group_size=ROWS_AT_ONCE)


def _schema(rows: Rows) -> Any:
    """Columns and types, with the features that `datasets` reads from the key `huggingface`."""
    import pyarrow

    kinds = {**FIELDS, "seed": "string" if isinstance(rows[0]["seed"], str) else "int64"}
    features = {
        "image": {"_type": "Image"},
        **{name: {"dtype": kind, "_type": "Value"} for name, kind in kinds.items()},
    }
    types = {"string": pyarrow.string(), "int64": pyarrow.int64(), "float64": pyarrow.float64()}
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = [("image", picture), *((name, types[kind]) for name, kind in kinds.items())]
    return pyarrow.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _batches(folder: Path, steps: Sequence[StepRecord], rows: Rows) -> Iterator[list[dict[str, Any]]]:
    """The rows with their pictures, so many at once as a row group holds."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        end = start + ROWS_AT_ONCE
        yield [{"image": {"bytes": read_picture(folder, step), "path": row["name"]}, **row}
               for step, row in zip(steps[start:end], rows[start:end], strict=True)]  # fmt: skip


def _record_batch(rows: list[dict[str, Any]], schema: Any) -> Any:
    import pyarrow

    return pyarrow.RecordBatch.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema=schema)


DATASET_LAYOUTS: Mapping[str, Callable[..., None]] = {"imagefolder": _write_imagefolder, "parquet": _write_parquet}

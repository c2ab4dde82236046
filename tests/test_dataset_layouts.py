"""Export for the library `datasets`: ImageFolder and Parquet, as that library's documentation has them."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from milr.cli.app import app
from milr.runs.dataset_layouts import DATASET_LAYOUTS, FIELDS, export_dataset
from milr.runs.layouts import ExportTally
from milr.runs.store import RunStore
from milr.types import Key, MissingError, Prompt, UsageError
from outcomes import GREEN, RED, config, outcome

HOSTILE = Prompt('"</script>\u2028\nline', "../../etc/passwd", "=1+1")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three finished samples of four: two of RED, one of GREEN."""
    folder = tmp_path / "run"
    with RunStore(folder).open(config(samples=2)) as store:
        store.write(outcome(RED))
        store.write(outcome(RED, (None, None), sample=1))
        store.write(outcome(GREEN, (1.0,)))
    return folder


def export(run: Path, layout: str, to: Path, **options) -> ExportTally:
    return export_dataset(run, RunStore(run).records(), layout=layout, to=to, **options)


def metadata(to: Path, split: str = "train") -> list[dict]:
    return [json.loads(line) for line in (to / split / "metadata.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_imagefolder_by_hand(run, tmp_path):
    to = tmp_path / "out"
    assert export(run, "imagefolder", to) == ExportTally(3, 1, to)
    rows = metadata(to)
    red = next(row for row in rows if row["prompt"] == RED.text and row["sample"] == 0)
    assert {name: red[name] for name in FIELDS} == {
        "prompt": RED.text, "id": RED.id, "category": "position", "sample": 0, "seed": 7, "score": 0.75, "judged": None,
        "step": 1, "visualisation": "a star", "method": "latent_reasoning", "model": "nano",
    }  # fmt: skip
    assert {row["file_name"] for row in rows} | {"metadata.jsonl"} == {path.name for path in (to / "train").iterdir()}
    record = next(each for each in RunStore(run).records() if each.prompt == RED and each.sample == 0)
    assert (to / "train" / red["file_name"]).read_bytes() == (run / record.result.picture).read_bytes()


@pytest.mark.parametrize("layout", DATASET_LAYOUTS)
def test_the_same_call_goes_on_and_a_foreign_file_is_refused(run, tmp_path, layout):
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    to = tmp_path / "out"
    export(run, layout, to)
    before = files(to)
    export(run, layout, to)
    assert files(to) == before
    (to / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds notes.txt"):
        export(run, layout, to)
    assert (to / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("layout", DATASET_LAYOUTS)
def test_other_rows_do_not_replace_those_that_are_there(run, tmp_path, layout):
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    to = tmp_path / "out"
    export(run, layout, to)
    before = files(to)
    with pytest.raises(UsageError, match="choose an empty --to"):
        export(run, layout, to, picture="first")
    assert files(to) == before


def test_a_damaged_picture_and_one_behind_a_link_are_left_out(run, tmp_path):
    records = {(each.prompt.text, each.sample): each for each in RunStore(run).records()}
    (run / records[GREEN.text, 0].result.picture).write_bytes(b"no picture")
    behind = (run / records[RED.text, 0].result.picture).parent
    behind.rename(tmp_path / "elsewhere")
    behind.symlink_to(tmp_path / "elsewhere")
    to = tmp_path / "out"
    assert export(run, "imagefolder", to).pictures == 1
    assert [(row["prompt"], row["sample"], row["score"]) for row in metadata(to)] == [(RED.text, 1, None)]


def test_hostile_text_is_data_and_no_path(tmp_path):
    with RunStore(tmp_path / "run").open(config(prompt_count=1)) as store:
        store.write(outcome(HOSTILE))
    export(tmp_path / "run", "imagefolder", tmp_path / "out", split="test")
    (row,) = metadata(tmp_path / "out", "test")
    assert (row["prompt"], row["id"], row["category"]) == (HOSTILE.text, HOSTILE.id, HOSTILE.category)
    assert sorted(files(tmp_path / "out")) == sorted([f"test/{row['file_name']}", "test/metadata.jsonl"])


def test_parquet_is_as_datasets_reads_it(run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    to = tmp_path / "out"
    assert export(run, "parquet", to).pictures == 3
    assert list(files(to)) == ["data/train-00000-of-00001.parquet"]
    table = parquet.read_table(to / "data/train-00000-of-00001.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == table.column_names == ["image", *FIELDS]
    assert features["image"] == {"_type": "Image"} and features["seed"] == {"dtype": "int64", "_type": "Value"}
    rows = table.to_pylist()
    export(run, "imagefolder", tmp_path / "folder")
    for row, line in zip(rows, metadata(tmp_path / "folder"), strict=True):
        assert {name: row[name] for name in FIELDS} == {name: line[name] for name in FIELDS}
        assert row["image"]["path"] == line["file_name"]
        assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (8, 8)


@pytest.mark.parametrize("seed", [2**63, -(2**64)])
def test_a_seed_that_64_bits_do_not_hold_is_a_text(tmp_path, seed):
    parquet = pytest.importorskip("pyarrow.parquet")
    with RunStore(tmp_path / "run").open(config(prompt_count=1, seed=seed)) as store:
        store.write(outcome(RED, key=Key(seed, RED.text, 0)))
    for layout in DATASET_LAYOUTS:
        export(tmp_path / "run", layout, tmp_path / layout)
    table = parquet.read_table(tmp_path / "parquet/data/train-00000-of-00001.parquet")
    assert table["seed"].to_pylist() == [str(seed)] == [row["seed"] for row in metadata(tmp_path / "imagefolder")]


def test_the_library_loads_both(run, tmp_path):
    datasets = pytest.importorskip("datasets")
    for layout in DATASET_LAYOUTS:
        export(run, layout, tmp_path / layout)
        loaded = datasets.load_dataset(str(tmp_path / layout), split="train", cache_dir=str(tmp_path / "cache"))
        assert loaded.num_rows == 3 and loaded[0]["image"].size == (8, 8)
        assert set(loaded.column_names) == {"image", *FIELDS}


def test_without_pyarrow_the_sentence_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'milr\[datasets\]'"):
        export(run, "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_is_one_sentence(run, tmp_path):
    with pytest.raises(UsageError, match="no split is called 'trian'; did you mean 'train'"):
        export(run, "imagefolder", tmp_path / "out", split="trian")
    with pytest.raises(UsageError, match="no finished sample"):
        export_dataset(run, [], layout="imagefolder", to=tmp_path / "out")


def test_the_command(run, tmp_path):
    command = ["export", str(run), "--layout", "imagefolder", "--split", "validation", "--to", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "3 pictures in" in result.output and "1 samples are not finished" in result.output
    assert len(metadata(tmp_path / "out", "validation")) == 3

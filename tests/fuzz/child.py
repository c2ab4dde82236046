"""One target under atheris, in a process of its own: `python -m tests.fuzz.child TARGET FOLDER -options`.

A problem is written to FOLDER/found, once for each kind, and the fuzzer goes on. What ends the process (no end, too
much memory) libFuzzer writes to FOLDER/found itself.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import atheris  # noqa: E402

with atheris.instrument_imports(include=["milr", "tomllib"]):
    from fuzz.calling import kind_of, problem_of  # noqa: E402
    from fuzz.mutate import mutate_json  # noqa: E402
    from fuzz.targets import load  # noqa: E402

    TARGET = load(sys.argv[1])
    for seed in TARGET.seeds:  # imports what it needs, which is no part of what is timed
        with tempfile.TemporaryDirectory() as empty:
            problem_of(TARGET, seed, Path(empty))


def main() -> None:
    """Fuzz until libFuzzer's options say that it is enough."""
    target, work = TARGET, Path(sys.argv[2])
    folder, found = work / "files", work / "found"
    kinds: set[str] = set()

    def run_one(content: bytes) -> None:
        problem = problem_of(target, content, folder)
        if problem is not None and (kind := kind_of(problem)) not in kinds:
            kinds.add(kind)
            (found / hashlib.sha256(content).hexdigest()[:12]).write_bytes(content)
            print(f"FOUND {kind}: {str(problem)[:200]!r}", file=sys.stderr)
        _empty(folder)

    def change(content: bytes, max_size: int, seed: int) -> bytes:
        changed = mutate_json(content, max_size, seed) if target.is_json and seed % 4 else None
        return changed if changed is not None else atheris.Mutate(content, max_size)

    for each in (folder, found):
        each.mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], *sys.argv[3:]], run_one, custom_mutator=change)
    atheris.Fuzz()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


if __name__ == "__main__":
    main()

"""`python -m tests.reward_code`: the code of the rewards has changed, and no verdict has.

It writes `src/milr/catalog/reward_code.json` again, so that stored runs can be gone on with. Where a reward's verdicts
may differ from before, name it (`python -m tests.reward_code detector`): it gets a new identity, and runs that it
judged cannot be gone on with, which the changelog says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from milr.catalog import identity

FILE = Path(identity.__file__).with_name("reward_code.json")
TOGETHER = [("self", "self:json"), ("held-out", "self")]  # self:json is read by both; the default of mixed prompts


def groups() -> list[tuple[str, ...]]:
    """The rewards, alone and as they are named together."""
    alone = [(name,) for name in identity.SOURCES if name != "self:json"]
    return [*alone, *(tuple(sorted(group, key=list(identity.SOURCES).index)) for group in TOGETHER)]


def write(changed: list[str]) -> None:
    """The file, in which `changed` rewards have new identities."""
    recorded = json.loads(FILE.read_text()) if FILE.exists() else {}
    for group in groups():
        name, code = "+".join(group), identity.code_hash(group)
        kept = recorded.get(name, {}).get("identity", code)
        recorded[name] = {"code": code, "identity": code if set(group) & set(changed) else kept}
    FILE.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    write(sys.argv[1:])

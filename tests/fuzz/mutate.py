"""Changes to JSON that keep it JSON: a value anywhere in it becomes an odd one, or another of its own."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, float("inf"), float("nan"), 2**31, 2**53, 2**64, 10**400, "", "0",
    "a", "\0", "\ud800", "\u200b", "../x", "a" * 300, "{prompt}", "\x1b[31m", [], [[]], {}, {"": 0}, [0, "a", None],
)  # fmt: skip
Path = tuple[Any, ...]


def mutate_json(data: bytes, max_size: int, seed: int) -> bytes | None:
    """The JSON in `data` with one to three values changed; None where it holds none, or would be too large."""
    choose = random.Random(seed)
    try:
        value = json.loads(data)
        for _ in range(choose.randint(1, 3)):
            value = _changed(value, choose)
        changed = json.dumps(value).encode()
    except (ValueError, RecursionError):
        return None
    return changed if len(changed) <= max_size else None


def _changed(root: Any, choose: random.Random) -> Any:
    paths = list(_paths(root))
    path, other = choose.choice(paths), _at(root, choose.choice(paths))
    if not path:
        return choose.choice([root, [root], {"a": root}]) if choose.random() < 0.8 else choose.choice(ODD)
    root = copy.deepcopy(root)
    parent = _at(root, path[:-1])
    action = choose.random()
    if action < 0.6:
        parent[path[-1]] = choose.choice(ODD)
    elif action < 0.8:
        parent[path[-1]] = copy.deepcopy(other)
    elif action < 0.9 or isinstance(parent, list):
        del parent[path[-1]]
    else:
        parent[choose.choice([str(each[-1]) for each in paths if each])] = parent.pop(path[-1])
    return root


def _paths(value: Any, path: Path = ()) -> Any:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value

"""Which of a benchmark's prompts a run takes."""

from __future__ import annotations

from collections.abc import Sequence

from milr.types import Prompt, UsageError


def chosen(prompts: Sequence[Prompt], categories: Sequence[str] = (), limit: int | None = None) -> list[Prompt]:
    """The prompts of some categories (none named: all), thinned out evenly to at most `limit`, in their order."""
    known = list(dict.fromkeys(prompt.category for prompt in prompts))
    strange = [name for name in categories if name not in known]
    if strange:
        raise UsageError(f"there is no category {strange[0]!r}; there are {', '.join(known)}.")
    found = [prompt for prompt in prompts if not categories or prompt.category in categories]
    if limit is None or limit >= len(found):
        return found
    if limit < 1:
        raise UsageError(f"the limit must be at least 1; it is {limit}.")
    return [found[place * len(found) // limit] for place in range(limit)]

"""Which of a benchmark's prompts a run takes: some categories, and at most so many."""

from __future__ import annotations

from collections.abc import Sequence

from milr.types import Prompt, UsageError


def select_prompts(prompts: Sequence[Prompt], categories: Sequence[str] = (), limit: int | None = None) -> list[Prompt]:
    """The prompts of `categories` (empty: of all), thinned out evenly to at most `limit`, in their order.

    UsageError for an unknown category, and for a limit below 1.
    """
    all_categories = list(dict.fromkeys(prompt.category for prompt in prompts))
    unknown = [name for name in categories if name not in all_categories]
    if unknown:
        raise UsageError(f"there is no category {unknown[0]!r}; there are {', '.join(all_categories)}.")
    selected = [prompt for prompt in prompts if not categories or prompt.category in categories]
    if limit is None or limit >= len(selected):
        return selected
    if limit < 1:
        raise UsageError(f"the limit must be at least 1; it is {limit}.")
    return [selected[index * len(selected) // limit] for index in range(limit)]

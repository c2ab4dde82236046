"""A benchmark in a file: `milr bench examples/own_benchmark.py:crosses`."""

from milr.types import Prompt


class Crosses:
    """Four prompts about crosses, in two categories, judged by the detector."""

    name = "crosses"
    metric = "detector"
    layout = "geneval"

    def prompts(self) -> list[Prompt]:
        """All prompts in the benchmark's order."""
        colours = [Prompt(f"a photo of a {colour} cross", f"one-{colour}", "one") for colour in ("red", "blue")]
        counts = [Prompt(f"a photo of {number} crosses", f"many-{number}", "many") for number in ("two", "three")]
        return colours + counts


def crosses() -> Crosses:
    """The factory."""
    return Crosses()

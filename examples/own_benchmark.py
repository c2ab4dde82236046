"""A benchmark in a file: `milr bench examples/own_benchmark.py:crosses`."""

from milr.types import Prompt


class Crosses:
    """Four prompts about crosses, judged by the detector; nano's grammar names their categories (colors, counting)."""

    name = "crosses"
    metric = "detector"
    layout = "geneval"

    def prompts(self) -> list[Prompt]:
        """All prompts in the benchmark's order."""
        colours = [Prompt(f"a photo of a {colour} cross", f"one-{colour}") for colour in ("red", "blue")]
        counts = [Prompt(f"a photo of {number} crosses", f"many-{number}") for number in ("two", "three")]
        return colours + counts


def crosses() -> Crosses:
    """The factory."""
    return Crosses()

"""A benchmark in a file: `milr bench examples/own_benchmark.py:crosses`."""

from milr.types import Prompt


class Crosses:
    """Four prompts about crosses in two categories, judged by the detector.

    nano's grammar gives the prompts the metadata that the detector needs. One prompt brings its own: without an
    exclude clause, a third cross is no mistake.
    """

    name = "crosses"
    metric = "detector"
    layout = "geneval"

    def prompts(self) -> list[Prompt]:
        """All prompts in the benchmark's order."""
        at_least_two = {"tag": "number", "include": [{"class": "cross", "count": 2}]}
        return [
            Prompt("a photo of a red cross", "one-red", "colour"),
            Prompt("a photo of a blue cross", "one-blue", "colour"),
            Prompt("a photo of two crosses", "many-two", "number", at_least_two),
            Prompt("a photo of three crosses", "many-three", "number"),
        ]


def crosses() -> Crosses:
    """The factory."""
    return Crosses()

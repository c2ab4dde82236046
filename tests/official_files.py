"""Small prompt files of ours in the official formats, in words that the tiny Janus can read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from milr.benchmarks.wise import STEMS

BUS, DOG = {"class": "bus", "count": 1}, {"class": "dog", "count": 1}
# One line of each task. The words are the tiny Janus's, the clauses GenEval's: the detector goes by these alone.
GENEVAL = (
    {"tag": "single_object", "include": [BUS], "prompt": "a picture of a big star"},
    {"tag": "two_object", "include": [BUS, DOG], "prompt": "a picture of a star and a square"},
    {"tag": "counting", "include": [{**BUS, "count": 2}], "exclude": [{**BUS, "count": 3}],
     "prompt": "a picture of two star"},
    {"tag": "colors", "include": [{**BUS, "color": "red"}], "prompt": "a picture of a red star"},
    {"tag": "position", "include": [BUS, {**BUS, "position": ["left of", 0]}],
     "prompt": "a picture of a star left of a square"},
    {"tag": "color_attr", "include": [{**BUS, "color": "red"}, {**DOG, "color": "blue"}],
     "prompt": "a picture of a red star and a blue square"},
)  # fmt: skip
GENEVAL2 = (
    {"prompt": "two red star with a square", "atom_count": 4, "skills": ["count", "attribute", "object", "object"],
     "vqa_list": [["How many stars are in the image?", "two"], ["Are the stars red?", "Yes"],
                  ["Are there any stars in the image?", "Yes"], ["Is there a square in the image?", "Yes"]]},
    {"prompt": "a star under a circle", "atom_count": 3, "skills": ["object", "position", "object"],
     "vqa_list": [["Is there a star in the image?", "Yes"], ["Is the star under the circle?", "Yes"],
                  ["Is there a circle in the image?", "Yes"]]},
)  # fmt: skip
DPG_BENCH = (
    "1,a big red star,,1,0,entity,whole,entity - whole (star),Is there a star?",
    '1,a big red star,,2,1,attribute,color,"attribute - color (star, red)",Is the star red?',
    '1,a big red star,,3,0,attribute,size,"attribute - size (star, big)",Is the star big?',
    'coco7,"a square and a circle over a star",,1,0,entity,whole,entity - whole (square),Is there a square?',
    'coco7,"a square and a circle over a star",,2,0,entity,whole,entity - whole (circle),Is there a circle?',
    'coco7,"a square and a circle over a star",,3,"1, 2",relation,spatial,"relation - spatial (circle, square, on)",'
    "Is the circle on the square?",
    'coco7,"a square and a circle over a star",,4,3,global,,global (photo),Is this a photo?',
)
UNIGENBENCH = {
    "a big red star": {"Attribute - Color": "red", "Attribute - Size": "big"},
    "a star under a circle": {"Entity Layout - Two-Dimensional Space": "under", "Style": "a picture"},
}
COMPBENCH = {
    "color_val": "a red star and a blue circle.",
    "shape_val": "a big square and a small star",
    "texture_val": "the green circle and the plan.",
    "spatial_val": "a star near a square",
    "non_spatial_val": "a star over a picture of a circle.",
    "complex_val": "the small red star is near the big blue square.",
    "complex_val_spatial": "the small red star is near the big blue square.",
    "complex_val_action": "a circle is under a star.",
    "complex_val_spatialaction": "a star with a square is near a circle.",
}
COMPBENCH_PLUS = {"numeracy_val": "two square and a circle.", "3d_spatial_val": "a star behind a square."}
WISE_IDS = {"wise": ((17,), (500, 600), (750, 850, 950)), "wise-verified": ((17,), (500, 600), (700, 800, 900))}


def geneval(folder: Path, lines: Iterable[dict[str, Any]] = GENEVAL) -> Path:
    """evaluation_metadata.jsonl, with LF ends."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "evaluation_metadata.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def compbench(folder: Path) -> Path:
    """The nine files, with CR LF ends and no last one."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, line in COMPBENCH.items():
        (folder / f"{stem}.txt").write_bytes(b"\r\n" + line.encode())
    return folder


def compbench_plus(folder: Path) -> Path:
    """The two files of T2I-CompBench++, with CR LF ends."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, line in COMPBENCH_PLUS.items():
        (folder / f"{stem}.txt").write_bytes(line.encode() + b"\r\n")
    return folder


def wise(folder: Path, edition: str = "wise", ids: Sequence[Sequence[int]] = ()) -> Path:
    """The three files of an edition, with a prompt of each category unless other ids are named."""
    folder.mkdir(parents=True, exist_ok=True)
    ending = "_verified" if edition == "wise-verified" else ""
    for stem, numbers in zip(STEMS, ids or WISE_IDS[edition], strict=True):
        records = [{"Prompt": f"what is red in picture {_in_words(number)}", "Explanation": f"shows {number}",
                    "Category": "c", "Subcategory": "s", "prompt_id": number} for number in numbers]  # fmt: skip
        (folder / f"{stem}{ending}.json").write_text(json.dumps(records))
    return folder


def _in_words(number: int) -> str:
    """A number in words that the tiny Janus knows, different for each."""
    return " ".join(("one", "two")[int(digit)] for digit in f"{number:b}")


def geneval2(folder: Path) -> Path:
    """geneval2_data.jsonl, with prompts of three and four atoms."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "geneval2_data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in GENEVAL2))
    return folder / "geneval2_data.jsonl"


def dpg_bench(folder: Path) -> Path:
    """dpg_bench.csv with two prompts; its first row is skipped."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
             "question_natural_language", *DPG_BENCH]  # fmt: skip
    (folder / "dpg_bench.csv").write_text("\r\n".join(lines) + "\r\n")
    return folder / "dpg_bench.csv"


def unigenbench(folder: Path) -> Path:
    """test_prompts_en.csv with two prompts."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "test_prompts_en.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["index", "prompt_en", "sub_dims_en"])
        for index, (text, points) in enumerate(UNIGENBENCH.items()):
            dimensions = {"Testpoints": list(points), "Testpoint Description": list(points.values())}
            table.writerow([index, text, json.dumps(dimensions)])
    return folder / "test_prompts_en.csv"


def write_all(folder: Path) -> dict[str, Path]:
    """Each official benchmark's name to what its --prompts may be."""
    return {
        "geneval": geneval(folder / "geneval"),
        "dpg-bench": dpg_bench(folder / "dpg-bench"),
        "unigenbench": unigenbench(folder / "unigenbench"),
        "geneval2": geneval2(folder / "geneval2"),
        "t2i-compbench": compbench(folder / "t2i-compbench"),
        "t2i-compbench-plus": compbench_plus(folder / "t2i-compbench-plus"),
        "wise": wise(folder / "wise"),
        "wise-verified": wise(folder / "wise-verified", "wise-verified"),
    }

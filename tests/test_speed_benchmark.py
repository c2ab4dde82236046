"""The speed benchmark: ratios and scaling from given times, limits from given shapes, a whole run on a tiny size."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from typer.testing import CliRunner, Result

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import random_janus  # noqa: E402
import speed  # noqa: E402
from speed_limits import Limits, Work, cache_bytes, work  # noqa: E402
from speed_rows import GENERATE, OURS, PLAIN, Row, cpu_ratio, middle, ratio, share_equal, told  # noqa: E402
from speed_table import _ratio, markdown  # noqa: E402
from typer import Typer  # noqa: E402

from milr.types import DrawRequest, Key, ReasonRequest  # noqa: E402

LEVELS = (1, 3)


# Worked out by hand


def test_ratios_are_to_the_plain_loops_rate_of_the_same_work() -> None:
    rows = [
        Row("text", PLAIN, 1, seconds=10.0, tokens=70),
        Row("milr", PLAIN, 1, seconds=30.0, pictures=3, tokens=800),
        Row("text", OURS, 4, seconds=2.0, tokens=280),
        Row("milr", OURS, 16, seconds=40.0, pictures=80, tokens=21_000),
    ]
    assert ratio(rows[2], rows) == pytest.approx(140 / 7)  # tokens a second
    assert ratio(rows[3], rows) == pytest.approx(2.0 / 0.1)  # pictures a second
    assert ratio(rows[0], rows) == ratio(rows[1], rows) == 1
    shared = [replace(rows[1], cpu_seconds=20.0), replace(rows[3], cpu_seconds=10.0)]
    assert cpu_ratio(shared[1], shared) == pytest.approx((80 / 10) / (3 / 20))
    assert cpu_ratio(rows[3], rows) is None
    assert ratio(Row("draw", OURS, 1, seconds=1.0, pictures=1), rows) is None
    assert told(rows)[3]["tokens_per_second"] == 525 and told(rows)[2]["pictures_per_second"] is None


def test_of_several_rounds_the_median_ratio_counts() -> None:
    def rows(plain: float, ours: float) -> tuple[Row, Row]:
        return Row("milr", PLAIN, 1, seconds=plain, pictures=1), Row("milr", OURS, 4, seconds=ours, pictures=4)

    row = middle([rows(1.0, 1.0), rows(3.0, 1.5), rows(2.0, 1.0)])
    assert row.ratios == (4.0, 8.0, 8.0) and ratio(row, []) == 8.0 and row.seconds == 1.5
    assert _ratio(told([row])[0]) == "8.00 (4.0 to 8.0)" and _ratio(told([replace(row, ratios=())])[0]) == ""


def test_twenty_steps_are_scaled_from_those_that_were_run() -> None:
    row = Row("milr", OURS, 8, seconds=11.0, pictures=24, finished=(5.0, 7.0, 11.0))
    assert row.long_run == 5 + 20 * 3 and row.step_rate == 8 * 2 / 6
    assert told([row])[0]["scaled"]
    whole = Row("milr", OURS, 1, seconds=25.0, pictures=21, finished=tuple(range(5, 26)))
    assert whole.long_run == 25 and not told([whole])[0]["scaled"]
    assert Row("milr", OURS, 1, seconds=5.0, pictures=1, finished=(5.0,)).long_run is None


def test_the_share_of_equal_tokens() -> None:
    assert share_equal([(1, 2, 3), (4,)], [(1, 2, 3), (4,)]) == 1
    assert share_equal([(1, 2, 3)], [(1, 9, 3, 3)]) == 2 / 4
    assert share_equal([(1, 2), (5, 5)], [(1, 2)]) == 1, "what only one side made is not compared"


def a_network() -> Any:
    """Three layers of 10 parameters, heads of 6 and 8, fp32; keys and values of 2 heads of 4."""
    layers = nn.ModuleList([nn.Linear(5, 2, bias=False) for _ in range(3)])
    return SimpleNamespace(
        model=SimpleNamespace(
            language_model=SimpleNamespace(layers=layers), generation_head=nn.Linear(4, 2, bias=False)
        ),
        lm_head=nn.Linear(3, 2, bias=False),
        dtype=torch.float32,
        config=SimpleNamespace(
            text_config=SimpleNamespace(num_hidden_layers=3, num_key_value_heads=2, head_dim=4),
        ),
    )


def test_what_a_decode_streams_and_multiplies() -> None:
    assert cache_bytes(a_network()) == 2 * 3 * 2 * 4 * 4
    text = work(a_network(), "text", [10, 6], [4, 2])
    assert text.streamed == 36 * 4 * 4 + 192 * (4 * (10 + 2) + 2 * (6 + 1))  # the longer row reads the weights
    assert text.operations == 2 * 36 * (4 + 2)
    image = work(a_network(), "image", [10], [4])
    assert image.streamed == 38 * 4 * 4 + 192 * 2 * 4 * (10 + 2)
    assert image.operations == 2 * 38 * 2 * 4


def test_shares_of_the_limits() -> None:
    shares = Work(streamed=100.0, operations=6.0).shares(4.0, Limits(bandwidth=50.0, arithmetic=3.0))
    assert shares == {"streaming": 0.5, "arithmetic": 0.5}


# Random models


def test_a_random_model_writes_texts_of_the_length_asked_and_reads_them_back() -> None:
    model, again = (random_janus.make("tiny", device="cpu", seed=4) for _ in range(2))
    prompts = random_janus.prompts("tiny", 3, seed=4)
    size = random_janus.SIZES["tiny"]
    requests = [ReasonRequest(prompt.text, Key(0, prompt.text), max_new_tokens=20) for prompt in prompts]
    texts = model.reason(requests)
    assert [len(text.ids) for text in texts] == [20] * 3
    assert [model.encode_text(text.text) for text in texts] == [text.ids for text in texts]
    assert [text.ids for text in again.reason(requests)] == [text.ids for text in texts]
    assert len({text.ids for text in texts}) == 3, "different prompts, different texts"
    assert {weight.dtype for weight in model.network.parameters()} == {torch.float32}
    length = 1 + len(model.encode_text(model.templates.reason(prompts[0].text)))
    assert length == size.prompt_tokens and model.image_tokens == 16


def test_bf16_weights_are_made_in_bf16() -> None:
    model = random_janus.make("tiny", device="cpu", dtype="bfloat16")
    assert {weight.dtype for weight in model.network.parameters()} == {torch.bfloat16}
    assert torch.get_default_dtype() == torch.float32
    (image,) = model.draw([DrawRequest("w1 w2", Key(0, "w1"), 5.0)])
    assert len(image.ids) == 16 and model.render([image.ids])[0].size == (16, 16)


@pytest.mark.parametrize(("name", "width", "layers", "tokens"), [("1b", 2048, 24, 576), ("7b", 4096, 30, 576)])
def test_the_large_sizes_have_the_shapes_of_janus_pro(name: str, width: int, layers: int, tokens: int) -> None:
    config = random_janus._config(random_janus.SIZES[name], 5)
    text = config.text_config
    assert (text.hidden_size, text.num_hidden_layers, text.vocab_size) == (width, layers, 102400)
    assert text.head_dim == 128 and config.vq_config.num_patches**2 == tokens
    assert config.vision_config.image_size == 384 and config.vq_config.num_embeddings == 16384


# The whole command


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, dict[str, Any], Path]:
    """The command on the tiny size: what it printed, its JSON, and the figure's place."""
    folder, app, before = tmp_path_factory.mktemp("speed"), Typer(), transformers.logging.get_verbosity()
    app.command()(speed.main)
    arguments = ["--size", "tiny", "--device", "cpu", "--in-flight", ",".join(map(str, LEVELS)), "--steps", "2",
                 "--plain-steps", "1", "--learning-rate", "0.1"]  # fmt: skip
    result = CliRunner().invoke(
        app, [*arguments, "--json", str(folder / "speed.json"), "--figure", str(folder / "speed.png")]
    )
    transformers.logging.set_verbosity(before)
    assert result.exit_code == 0, result.output
    return result, json.loads((folder / "speed.json").read_text()), folder / "speed.png"


def rows_of(told: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in told["rows"] if all(row[name] == value for name, value in wanted.items())]


def test_every_way_and_every_kind_of_work_is_measured(ran: tuple[Result, dict[str, Any], Path]) -> None:
    _, told, picture = ran
    found = [(row["way"], row["kind"], row["in_flight"]) for row in told["rows"]]
    kinds = ("text", "draw", "render", "milr")
    assert found == [
        *((PLAIN, kind, 1) for kind in kinds),
        (GENERATE, "text", 1),
        (GENERATE, "draw", 1),
        *((OURS, kind, level) for level in LEVELS for kind in kinds[:3]),
        *((OURS, "milr", level) for level in LEVELS),
    ]
    assert all(row["seconds"] > 0 and row["peak_bytes"] > 2**20 for row in told["rows"])
    assert told["limits"]["bandwidth"] > 1e8 and told["limits"]["arithmetic"] > 1e8
    assert told["machine"]["threads"] == 1 and told["settings"]["size"] == "tiny"
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_the_counts_are_those_of_the_work(ran: tuple[Result, dict[str, Any], Path]) -> None:
    _, told, _ = ran
    (plain,) = rows_of(told, way=PLAIN, kind="milr")
    assert (plain["pictures"], plain["tokens"], len(plain["finished"])) == (2, 2 * (8 + 16), 2)
    assert set(plain["parts"]) == {"reason", "draw", "render"}
    for level in LEVELS:
        (milr,) = rows_of(told, way=OURS, kind="milr", in_flight=level)
        assert (milr["pictures"], milr["tokens"]) == (3 * level, 3 * level * (8 + 16))
        assert milr["scaled"] and milr["first_picture"] <= milr["finished"][0] < milr["finished"][2]
        assert milr["changed"] > 0 and {"reason", "draw", "render", "compute"} <= set(milr["parts"])
        (text,) = rows_of(told, way=OURS, kind="text", in_flight=level)
        assert text["tokens"] == 8 * level and 0 < text["streaming"] < 1 and 0 < text["arithmetic"] < 1
    assert all(row["tokens"] == 8 for row in rows_of(told, way=GENERATE, kind="text"))
    assert all(row["tokens"] == 16 for row in rows_of(told, way=GENERATE, kind="draw"))


def test_ours_made_the_tokens_of_the_plain_loop(ran: tuple[Result, dict[str, Any], Path]) -> None:
    _, told, _ = ran
    compared = [row for kind in ("text", "draw", "milr") for row in rows_of(told, way=OURS, kind=kind)]
    assert len(compared) == 6
    assert all(row["equal"] == 1 or row["near_ties"] for row in compared)
    assert all(abs(row["divergence"]) < 1e-8 for row in compared if row["kind"] != "milr")


def test_in_bf16_the_distributions_are_those_of_the_plain_loop(tmp_path: Path) -> None:
    app, before = Typer(), transformers.logging.get_verbosity()
    app.command()(speed.main)
    told = tmp_path / "speed.json"
    arguments = ["--size", "tiny", "--device", "cpu", "--dtype", "bfloat16", "--in-flight", "3", "--steps", "1",
                 "--plain-steps", "1", "--rounds", "1", "--json", str(told)]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    transformers.logging.set_verbosity(before)
    assert result.exit_code == 0, result.output
    for kind in ("text", "draw"):
        (row,) = rows_of(json.loads(told.read_text()), way=OURS, kind=kind)
        assert 0 < row["divergence"] < 1e-2, "nats: rounding, and nothing else"


def test_the_tables_hold_every_row(ran: tuple[Result, dict[str, Any], Path]) -> None:
    printed, told, _ = ran
    page = markdown(told)
    assert page in printed.output
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len(lines) == len(told["rows"]) + 2 * 2  # two heads of two lines
    assert {line.count("|") for line in lines[:2]} == {lines[2].count("|")}
    assert "| plain loop | 1 | 2 |" in page and "scaled" in page and "| ours | 3 | 9 |" in page


def test_an_unknown_size_is_refused() -> None:
    app = Typer()
    app.command()(speed.main)
    result = CliRunner().invoke(app, ["--size", "13b"])
    assert result.exit_code == 2 and "13b is none of" in result.output

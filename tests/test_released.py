"""The preset `released` does what the authors' release does; docs/released.md has the same items in the same order."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import milr
import tiny_janus
from algorithm import KEY, LEARNING_RATE, PROMPT, SCALE, Slow, settings, trajectory
from milr.base import StudioFace
from milr.latent.prefix import greedy_prefix, open_prefix, sampled_prefix
from milr.latent.released import Quirks
from milr.latent.schedules import SCHEDULES
from milr.latent.update import start, update
from milr.methods.latent_reasoning import Settings
from milr.methods.redraw import redraw
from milr.models.janus import JanusModel
from milr.models.janus_prompts import JanusPrompts
from milr.options import Options
from milr.policy import guided_logits, released_log_prob
from milr.presets import PRESETS, resolve
from milr.randomness import NoiseStream, sample_tokens
from milr.templates import JANUS, split_reasoning
from milr.types import DrawRequest, Outcome, ReasonRequest, UsageError
from scripted import Recording, Scripted

RELEASE = Quirks(**PRESETS["released"]["quirks"])
OURS = Quirks()
MODES = ["joint", "text", "image"]


@pytest.fixture(scope="session")
def plain(tiny_folder: Path) -> JanusModel:
    """The small model in the release's role tags."""
    return JanusModel.load(tiny_folder, device="cpu", templates=tiny_janus.TEMPLATES, role_tags="plain", name="plain")


@pytest.fixture(scope="session")
def bf16(tiny_folder: Path) -> JanusModel:
    """The small model with weights in bfloat16."""
    return JanusModel.load(tiny_folder, device="cpu", dtype="bfloat16", templates=tiny_janus.TEMPLATES, name="bf16")


def released(schedule: str, **changes: Any) -> Settings:
    """The settings of the small model's tests, in the preset `released`."""
    values = resolve("released", 16, {"schedule": schedule})
    names = ("credit", "epsilon", "dtype")
    return settings(schedule, **{name: values[name] for name in names} | {"quirks": Quirks.of(values)} | changes)


# All of it together


class SlowRelease(Slow):
    """The release's three modes in plain torch, written from the facts in the docs: no studio, no cache, no batch."""

    def __init__(self, model: JanusModel, mode: str) -> None:
        super().__init__(model)
        self.mode = mode

    def turn(self, text: Sequence[int], step: int) -> str:
        """The first picture is asked for by `User`; so are the others, unless only the text moves."""
        words = self.model.tokenizer.decode(list(text), skip_special_tokens=True)
        content = PROMPT.text if self.mode == "image" else f"{PROMPT.text}. {words}".strip()
        return f"<|User|>: {content}\n\n<|Assistant|>:" if self.mode == "text" and step else \
               f"User: {content}\n\nAssistant:"  # fmt: skip

    def continued(self, prefix: Sequence[int], limit: int = 120) -> list[int]:
        """The prefix, whatever it holds, and one to limit + 1 greedy tokens."""
        prompt = self.model.tokenizer.encode(self.model.templates.reason(PROMPT.text), add_special_tokens=False)
        ids = list(prefix)
        while len(ids) == len(prefix) or (ids[-1] != self.model.ids.end and len(ids) - len(prefix) <= limit):
            ids.append(
                int(self.network.lm_head(self.hidden(self.embed([self.model.ids.begin, *prompt, *ids]))).argmax())
            )
        return ids

    def moved(self, z: Tensor, optimiser: torch.optim.Adam, head: Any, score: float, epsilon: float) -> Tensor:
        """One step of Adam on the argmax tokens. -> the new probabilities (n, V)"""
        with torch.enable_grad():
            p = head(z).softmax(-1) + epsilon
            likeliest = p.argmax(-1)
            optimiser.zero_grad()
            (-(score - 1) * (p[torch.arange(len(z)), likeliest] + 1e-10).log().sum()).backward()
        optimiser.step()
        return cast(Tensor, head(z).softmax(-1))

    @torch.no_grad()
    def run(self, scores: Sequence[float], free: tuple[int, int]) -> list[tuple[list[int], list[int]]]:
        """Text and image tokens of the first rollout and of one step for each further score."""
        text, all_text = self.text()
        image, all_image = self.image(text, 0)
        z_text, z_image = (
            z[:count].clone().requires_grad_() for z, count in zip((all_text, all_image), free, strict=True)
        )
        adams = [torch.optim.Adam([z], lr=LEARNING_RATE) for z in (z_text, z_image)]
        rollouts = [(text, image)]
        for step, score in enumerate(scores, 1):
            prefix: tuple[int, ...] = ()
            if self.mode != "image":
                text = self.continued(
                    self.moved(z_text, adams[0], self.network.lm_head, score, 1e-8).argmax(-1).tolist()
                )
            if self.mode != "text":
                p = self.moved(z_image, adams[1], self.guided, score, 1e-8 if self.mode == "image" else 0.0)
                noise = NoiseStream(KEY.at(step), "image", p.shape[-1]).first(len(p))
                prefix = tuple((p / noise).argmax(-1).tolist())
            image, _ = self.image(text, step, prefix)
            rollouts.append((text, image))
        return rollouts


@pytest.mark.parametrize("mode", MODES)
def test_the_steps_of_each_mode_are_those_of_a_slow_loop_of_the_release(plain: JanusModel, mode: str) -> None:
    scores = (0.25, 0.5, 0.0, 0.75)
    result = trajectory(plain, released(mode), *scores)
    expected = SlowRelease(plain, mode).run(scores, free=(4, 3))  # of 24 and of 16
    assert [list(image) for image in result.images()] == [image for _, image in expected]
    if mode == "image":
        assert result.texts() == []
    else:
        assert [list(text) for text in result.texts()] == [text for text, _ in expected]
        assert len({tuple(text) for text, _ in expected}) > 1
    ours = trajectory(plain, replace(released(mode), quirks=OURS), *scores)
    assert ours.images() != result.images() or mode == "joint"


def test_only_released_has_quirks() -> None:
    assert [name for name, values in PRESETS.items() if "quirks" in values] == ["released"]
    assert all(Quirks.of(PRESETS[name]) == OURS for name in PRESETS if name != "released")
    every = [getattr(RELEASE, name) != getattr(OURS, name) for name in Quirks.__dataclass_fields__]
    assert all(every) and len(every) == 7


# (a) The text limit, and an end of text inside the prefix


def test_the_limit_counts_what_follows_an_open_prefix(tiny: JanusModel) -> None:
    (text,) = tiny.reason([ReasonRequest(PROMPT.text, KEY)])
    assert len(text.ids) == 35
    request = ReasonRequest(PROMPT.text, KEY, prefix=text.ids[:3], max_new_tokens=5, open_prefix=True)
    (continued, ours) = tiny.reason([request, replace(request, open_prefix=False)])
    assert continued.ids == text.ids[:9] and continued.num_decoded == 6  # 3 forced, then 5 + 1
    assert ours.ids == text.ids[:5]


def test_one_token_follows_a_prefix_that_ends_the_text(tiny: JanusModel) -> None:
    (text,) = tiny.reason([ReasonRequest(PROMPT.text, KEY)])
    for prefix in (text.ids, (text.ids[0], tiny.end_of_text, text.ids[2])):
        request = ReasonRequest(PROMPT.text, KEY, prefix=prefix, max_new_tokens=4, open_prefix=True)
        (continued, ours) = tiny.reason([request, replace(request, open_prefix=False)])
        assert continued.ids[: len(prefix)] == prefix and len(prefix) < len(continued.ids) <= len(prefix) + 5
        assert list(continued.ids) == SlowRelease(tiny, "text").continued(prefix, limit=4)
        assert len(ours.ids) < len(continued.ids)
        assert tiny.decode_text(continued.ids) == continued.text and "end" not in continued.text


def test_a_first_text_that_was_cut_at_its_limit_goes_on_at_the_first_step(tiny: JanusModel, monkeypatch: Any) -> None:
    monkeypatch.setattr(JanusPrompts, "max_text_tokens", property(lambda prompts: 10))
    result = trajectory(tiny, released("text", steps=2, learning_rate=1e-6), 0.25)
    assert [len(text) for text in result.texts()] == [10, 13, 13]  # 2 of them forced, then 10 + 1
    assert result.texts()[1][:10] == result.texts()[0]
    ours = trajectory(tiny, settings("text", steps=2, learning_rate=1e-6), 0.25)
    assert [len(text) for text in ours.texts()] == [10, 10, 10]


def test_an_end_of_text_inside_an_open_prefix_ends_nothing() -> None:
    logits, elsewhere = (
        torch.eye(5)[[3, 1, 4]],
        {"before": torch.eye(5)[[0, 0, 0]], "executed": torch.tensor([0, 0, 0])},
    )
    assert open_prefix(logits, **elsewhere) == ((3, 1, 4), ())
    assert greedy_prefix(logits, 1, **elsewhere) == ((3, 1), ())


def test_a_text_that_ended_by_itself_is_written_again_only_when_its_prefix_changed(tiny: JanusModel) -> None:
    result = trajectory(tiny, released("text", steps=2, learning_rate=1e-6), 0.25)
    assert len(result.studio.reasons) == 1 and len(set(result.texts())) == 1


def test_a_long_text_leaves_room_for_the_picture(tiny: JanusModel) -> None:
    """Of the 256 positions of this model 16 are the picture's."""
    (text,) = tiny.reason([ReasonRequest(PROMPT.text, KEY)])
    prefix = text.ids[:2] * 100
    (continued,) = tiny.reason([ReasonRequest(PROMPT.text, KEY, prefix=prefix, open_prefix=True)])
    prompt = 1 + len(tiny.encode_text(tiny.templates.reason(PROMPT.text)))
    assert len(prefix) < len(continued.ids) <= 256 - 16 - prompt


# (b) Image-only mode


def test_where_only_the_image_moves_pictures_come_from_the_bare_prompt(tiny: JanusModel) -> None:
    result = trajectory(tiny, released("image", steps=2), 0.25)
    assert [draw.text for draw in result.studio.draws] == [PROMPT.text] * 3
    assert not result.studio.reasons and all(step.rollout.visualisation is None for step in result.steps)
    assert [step.moved for step in result.steps] == [(), ("image",), ("image",)]
    assert not any(step.text_changed or step.repetition for step in result.steps)
    for mode in ("joint", "text"):
        assert trajectory(tiny, released(mode, steps=0)).studio.draws[0].text.startswith(f"{PROMPT.text}. ")
    ours = trajectory(tiny, settings("image", steps=2), 0.25)
    assert all(draw.text.startswith(f"{PROMPT.text}. ") for draw in ours.studio.draws)


def test_a_supplied_text_is_used_there_all_the_same(tiny: JanusModel) -> None:
    result = trajectory(tiny, released("image", steps=1, visualisation="blue circle"), 0.25)
    assert [draw.text for draw in result.studio.draws] == [f"{PROMPT.text}. blue circle"] * 2


# (c) Role tags of later pictures


@pytest.mark.parametrize("mode", MODES)
def test_the_role_tags_of_later_pictures(tiny: JanusModel, mode: str) -> None:
    draws = trajectory(tiny, released(mode, steps=2), 0.25).studio.draws
    assert [draw.role_tags for draw in draws] == [None, "pipe", "pipe"] if mode == "text" else [None] * 3


def test_role_tags_belong_to_the_request(plain: JanusModel, tiny: JanusModel) -> None:
    request = DrawRequest("a red star", KEY, SCALE, num_latents=1)
    (same, other) = plain.draw([request, replace(request, role_tags="pipe")])
    (pipe,) = tiny.draw([request])  # whose own tags they are
    assert torch.allclose(cast(Tensor, other.latents), cast(Tensor, pipe.latents), atol=1e-5)
    assert not torch.allclose(cast(Tensor, same.latents), cast(Tensor, pipe.latents), atol=1e-2)


def test_role_tags_that_the_user_chose_are_for_every_picture() -> None:
    assert resolve("released", 64, {})["quirks"]["later_role_tags"] == "pipe"
    for tags in ("pipe", "plain"):
        values = resolve("released", 64, {"role_tags": tags})
        assert (values["role_tags"], values["quirks"]["later_role_tags"]) == (tags, None)
    assert PRESETS["released"]["quirks"]["later_role_tags"] == "pipe"


# (d) Guidance, softmax and log-probability in the dtype of the weights


def test_guidance_in_bfloat16_by_hand() -> None:
    """c - u = 101.0078125 is 101 in 8 bits, 5 * 101 = 505 is 504, 504 - 100 is 404."""
    pair = torch.tensor([[1.0078125], [-100.0]])
    for scale in (5.0, torch.tensor([[5.0]])):
        exact = guided_logits(pair[:1], pair[1:], scale)
        rounded = guided_logits(pair[:1].bfloat16(), pair[1:].bfloat16(), scale)
        assert exact.item() == 405.0390625
        assert (rounded.item(), rounded.dtype) == (404.0, torch.bfloat16)


def test_the_log_probability_in_bfloat16_by_hand() -> None:
    """p = 1/3 is 0.333984375 (171 / 512) in 8 bits, and log p = -1.0966..., which is -1.09375 (140 / 128)."""
    logits = torch.zeros(1, 3, dtype=torch.bfloat16)
    result = released_log_prob(logits, torch.tensor([0]))
    assert (result.item(), result.dtype) == (-1.09375, torch.bfloat16)
    assert released_log_prob(logits.float(), torch.tensor([0])).item() == pytest.approx(-math.log(3))


def test_close_logits_tie_in_bfloat16_and_the_first_of_them_wins() -> None:
    """Logits 0 and 2**-10 both have the probability 0.5 in 8 bits."""
    logits = torch.tensor([[0.0, 2.0**-10]], dtype=torch.bfloat16)
    moved = {"before": torch.tensor([[-9.0, 0.0]]), "executed": torch.tensor([1])}
    assert open_prefix(logits, **moved) == ((0,), (0,))
    assert greedy_prefix(logits, None, **moved).ids == (1,)
    spread = lambda z: z @ torch.eye(2, dtype=torch.bfloat16)  # noqa: E731
    _, info = update(start(logits, (1,), torch.bfloat16), spread, -1.0, learning_rate=0.1, credit="argmax", epsilon=0.0)
    assert info.gradient_norm == pytest.approx(0.5**0.5, rel=2**-8)


def test_a_token_is_drawn_from_probabilities_in_the_dtype_of_the_logits() -> None:
    """0.5 beside 0.5 in 8 bits, where exact probabilities are 0.2 % apart: noise between them decides otherwise."""
    logits, noise = torch.tensor([[0.0, 2.0**-8]]), torch.tensor([[1.0, 1.001]])
    one = torch.ones(1)
    assert sample_tokens(logits.bfloat16(), one, noise)[0].tolist() == [0]
    assert sample_tokens(logits, one, noise)[0].tolist() == [1]


def in_bf16(model: JanusModel, latents: Tensor, scale: float) -> Tensor:
    """Guided logits of one position (2, d), in bfloat16 throughout."""
    conditional, unconditional = model.network.model.generation_head(latents.bfloat16()[None])[0]
    return cast(Tensor, unconditional + scale * (conditional - unconditional))


@torch.no_grad()
def test_every_image_token_is_drawn_from_bfloat16_probabilities(bf16: JanusModel) -> None:
    requests = [DrawRequest("a star", KEY.at(step), 5.0, num_latents=None, temperature=3.0, logits_dtype="model")
                for step in range(96)]  # fmt: skip
    differ = 0
    for request, trace in zip(requests, bf16.draw(requests), strict=True):
        noise = NoiseStream(request.key, "image", tiny_janus.IMAGE_VOCAB).first(16)
        logits = [in_bf16(bf16, pair, 5.0) for pair in cast(Tensor, trace.latents)]
        probabilities = [(row / 3.0).softmax(-1).float() for row in logits]
        assert trace.ids == tuple(int((p / e).argmax()) for p, e in zip(probabilities, noise, strict=True))
        exact = bf16._guided_logits(cast(Tensor, trace.latents), 5.0)
        differ += trace.ids != tuple(((exact / 3.0).softmax(-1) / noise).argmax(-1).tolist())
    assert differ  # so that the dtype is what decides


def test_one_call_may_hold_requests_of_both_dtypes(bf16: JanusModel) -> None:
    requests = [DrawRequest("a star", KEY.at(step), 5.0, logits_dtype="model" if step % 2 else "float32")
                for step in range(6)]  # fmt: skip
    assert [trace.context for trace in bf16.draw(requests)] == ["float32", "model"] * 3


def test_the_logits_of_an_update_have_the_dtype_that_the_request_asked_for(bf16: JanusModel) -> None:
    for asked, dtype in (("float32", torch.float32), ("model", torch.bfloat16)):
        (text,) = bf16.reason([ReasonRequest("a star", KEY, num_latents=2, logits_dtype=asked)])  # type: ignore[arg-type]
        (image,) = bf16.draw([DrawRequest("a star", KEY, 5.0, num_latents=2, logits_dtype=asked)])  # type: ignore[arg-type]
        both = (
            bf16.text_logits(text, cast(Tensor, text.latents)),
            bf16.image_logits(image, cast(Tensor, image.latents), 5.0),
        )
        assert [logits.dtype for logits in both] == [dtype] * 2


@pytest.mark.parametrize("mode", MODES)
def test_an_update_in_bfloat16_is_that_of_torch_in_bfloat16(bf16: JanusModel, mode: str) -> None:
    result = trajectory(bf16, released(mode, steps=1, learning_rate=0.03), 0.25)
    for modality, state in result.states[1].free.items():
        z = result.latents(modality)[0].clone().requires_grad_()
        head = bf16.network.lm_head if modality == "text" else bf16.network.model.generation_head
        logits = head(z)
        if modality == "image":
            logits = logits[:, 1] + SCALE * (logits[:, 0] - logits[:, 1])
        p = logits.softmax(-1) + released(mode).epsilon[modality]
        log_p = (p[torch.arange(len(z)), p.argmax(-1)] + 1e-10).log()
        adam = torch.optim.Adam([z], lr=0.03)
        (0.75 * log_p.sum()).backward()
        adam.step()
        assert z.dtype == logits.dtype == state.latents.dtype == torch.bfloat16
        assert torch.equal(state.latents, z.detach())
        if modality == "image":
            prefix = sampled_prefix(logits_of(bf16, z), KEY.at(1), 1.0).ids
            assert result.images()[1][:3] == prefix


@torch.no_grad()
def logits_of(model: JanusModel, z: Tensor) -> Tensor:
    pair = model.network.model.generation_head(z)
    return cast(Tensor, pair[:, 1] + SCALE * (pair[:, 0] - pair[:, 1]))


# (e) Blanks at the ends of the text


def test_the_drawing_content_is_stripped_as_a_whole() -> None:
    def content(quirks: Quirks, text: str | None) -> str:
        return quirks.draw_request("a star", text, KEY, 5.0).text

    assert content(RELEASE, " big\n") == "a star.  big"
    assert content(RELEASE, "") == content(RELEASE, " ") == "a star."
    assert content(RELEASE, None) == content(OURS, None) == content(OURS, "") == "a star"
    assert content(OURS, "big") == content(RELEASE, "big") == "a star. big"


def test_a_text_that_begins_with_a_blank_keeps_it(tiny: JanusModel, monkeypatch: Any) -> None:
    decode = tiny.tokenizer.decode
    monkeypatch.setattr(tiny.tokenizer, "decode", lambda ids, **options: f" {decode(ids, **options)}\n")
    contents = [draw.text for draw in trajectory(tiny, released("joint"), 0.25).studio.draws]
    assert all(content.startswith("a red star.  ") and not content.endswith("\n") for content in contents)
    contents = [draw.text for draw in trajectory(tiny, settings("joint"), 0.25).studio.draws]
    assert not any("  " in content for content in contents)


def test_the_controls_under_released_share_the_first_picture(tiny: JanusModel) -> None:
    async def first(visualise: Any) -> tuple[int, ...]:
        studio = Recording(tiny, Scripted(0.25))
        method = redraw(visualise=visualise, guidance_scale=SCALE, quirks=RELEASE)
        try:
            async with studio.method():
                steps = method(cast(StudioFace, studio), PROMPT, KEY)
                step = await anext(steps)
                await steps.aclose()  # type: ignore[attr-defined]
            assert studio.draws[0].logits_dtype == "model"
            return step.rollout.image.ids
        finally:
            studio.close()

    for visualise, mode in (("greedy", "joint"), ("greedy", "text"), ("none", "image")):
        alone = asyncio.run(asyncio.wait_for(first(visualise), 60))
        assert trajectory(tiny, released(mode, steps=0)).images() == [alone]


# (f) The whole reasoning prompt

SYSTEM, TURN = "You look at a picture.", 'What is in "{prompt}"?\n---- Say it.'


def test_a_system_line_and_a_user_turn_are_parted_by_a_line() -> None:
    assert split_reasoning(f"{SYSTEM}\n---\n{TURN}\n") == (SYSTEM, TURN)
    assert split_reasoning(f"---\n{TURN}") == ("", TURN)
    assert split_reasoning(TURN) == (None, TURN)


def test_the_whole_reasoning_turn_can_be_supplied() -> None:
    words = JANUS.override(role_tags="plain", reasoning=f"{SYSTEM}\n---\n{TURN}")
    assert words.reason("a star") == f'{SYSTEM}\n\nUser: What is in "a star"?\n---- Say it.\n\nAssistant:'
    without = JANUS.override(role_tags="plain", reasoning=f"---\n{TURN}")
    assert without.reason("a star") == 'User: What is in "a star"?\n---- Say it.\n\nAssistant:'
    assert JANUS.override(reasoning=TURN).reasoning_system == JANUS.reasoning_system
    with pytest.raises(UsageError, match=r"\{prompt\}"):
        JANUS.override(reasoning="{prompt}\n---\nWhat?")


def test_the_reasoning_prompt_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "wording.txt"
    file.write_text(f"\n{SYSTEM}\n---\n{TURN}\n", encoding="utf-8-sig")
    assert Options(reasoning_prompt=str(file)) == Options(reasoning_prompt=f"{SYSTEM}\n---\n{TURN}")
    assert Options(reasoning_prompt="draw {prompt} ").reasoning_prompt == "draw {prompt} "


def test_a_file_with_a_reasoning_prompt_has_bounds(tmp_path: Path) -> None:
    file = tmp_path / "wording.txt"
    for content, message in (
        (b"\xff{prompt}", "is not UTF-8 text .line 1.: save it"),
        (b"a" * 2**20 + b"{prompt}", "1 MiB"),
    ):
        file.write_bytes(content)
        with pytest.raises(UsageError, match=message):
            Options(reasoning_prompt=str(file))
    for path, kind in ((tmp_path, "a folder"), (Path("/dev/zero"), "a device")):
        with pytest.raises(UsageError, match=f"is {kind}, not a file"):
            Options(reasoning_prompt=str(path))


@pytest.mark.parametrize("content", [None, b"no place\n"])
def test_a_reasoning_prompt_without_its_place_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "wording.txt"
    if content is not None:
        file.write_bytes(content)
    for name in (str(file), "long " * 2000, "null\0"):
        with pytest.raises(UsageError) as caught:
            Options(reasoning_prompt=name)
        sentence = str(caught.value)
        assert "{prompt}" in sentence and sentence.endswith("is neither.") and "\n" not in sentence


def test_a_supplied_reasoning_prompt_is_what_the_model_reads(tmp_path: Path, tiny_folder: Path) -> None:
    file = tmp_path / "wording.txt"
    file.write_text("describe the picture\n---\nplan {prompt}\n")
    options = {"model": str(tiny_folder), "device": "cpu", "reward": "self", "steps": 0, "preset": "released",
             "image_ratio": 0.2}  # fmt: skip
    outcome = milr.generate("a red star", reasoning_prompt=str(file), **options)
    templates = replace(JANUS, reasoning="plan {prompt}", reasoning_system="describe the picture", role_tags="plain")
    model = JanusModel.load(tiny_folder, device="cpu", templates=templates)
    (expected,) = model.reason([ReasonRequest("a red star", KEY)])
    assert isinstance(outcome, Outcome) and outcome.steps[0].rollout.visualisation
    assert outcome.steps[0].rollout.visualisation.ids == expected.ids


# (g) A score exactly at the threshold


REWARD_THRESHOLDS = [(0.9, -0.1), (0.8, -0.2), (0.75, -0.25), (0.5, -0.5), (0.4, -0.6), (0.35, -0.65), (0.1, -0.9),
                     (0.0, -1.0), (1.0, 0.0)]  # fmt: skip


@pytest.mark.parametrize(("threshold", "reward_threshold"), REWARD_THRESHOLDS)
def test_the_search_stops_where_rewards_say_so(threshold: float, reward_threshold: float) -> None:
    limit = RELEASE.threshold(threshold)
    assert limit is not None and OURS.threshold(threshold) == threshold
    for score in (
        threshold,
        math.nextafter(threshold, 0),
        math.nextafter(threshold, 2),
        threshold - 0.01,
        threshold + 0.01,
    ):
        assert (score > limit) == (score - 1 > reward_threshold), score


def test_at_the_threshold_the_release_stops_at_0_9_and_goes_on_at_0_75() -> None:
    """0.9 - 1 is -0.09999999999999998 and above -0.1; 0.75 - 1 is -0.25."""
    limits = [cast(float, RELEASE.threshold(threshold)) for threshold in (0.9, 0.75)]
    assert limits[0] < 0.9 and limits[1] == 0.75
    assert RELEASE.threshold(None) is None


@pytest.mark.parametrize(
    ("preset", "score", "pictures"), [("released", 0.9, 1), ("released", 0.75, 2), ("paper", 0.9, 2)]
)
def test_a_search_at_the_threshold(tmp_path: Path, tiny_folder: Path, preset: str, score: float, pictures: int) -> None:
    (tmp_path / "judge.py").write_text(f"def judge(picture, prompt):\n    return {score}\n")
    outcome = milr.generate("a star", model=str(tiny_folder), device="cpu", reward=f"{tmp_path / 'judge.py'}:judge",
                            preset=preset, threshold=score, steps=1, image_ratio=0.2,
                            reasoning_prompt="plan {prompt}")  # fmt: skip
    assert isinstance(outcome, Outcome) and len(outcome.steps) == pictures


# A ratio that frees nothing


def test_the_release_rounds_down_to_nothing() -> None:
    assert [RELEASE.free_tokens(0.2, length) for length in (0, 1, 4, 5, 9, 10)] == [0, 0, 0, 1, 1, 2]
    assert [OURS.free_tokens(0.2, length) for length in (0, 1, 4, 5, 9, 10)] == [0, 1, 1, 1, 1, 2]
    assert (RELEASE.free_tokens(0.29, 100), OURS.free_tokens(0.29, 100)) == (28, 29)  # 28.999999999999996
    assert RELEASE.free_tokens(1.0, 7) == 7


NOTHING_FREE = [({"text_ratio": 0.02}, "joint"), ({"image_ratio": 0.02}, "joint"), ({"text_ratio": 0.02}, "text"),
                ({"image_ratio": 0.02}, "image")]  # fmt: skip


@pytest.mark.parametrize(("changes", "mode"), NOTHING_FREE)
def test_where_nothing_is_free_the_search_ends_after_its_first_picture(
    tiny: JanusModel, changes: dict[str, float], mode: str
) -> None:
    assert len(trajectory(tiny, released(mode, steps=2, **changes), 0.25).steps) == 1
    assert len(trajectory(tiny, settings(mode, steps=2, **changes), 0.25).steps) == 3


def test_a_modality_that_does_not_move_need_not_be_free(tiny: JanusModel) -> None:
    assert len(trajectory(tiny, released("text", steps=2, image_ratio=0.02), 0.25).steps) == 3
    assert SCHEDULES["text"].modalities == ("text",)

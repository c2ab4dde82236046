"""CLIPScore and PickScore on a small random CLIP."""

import asyncio
import math

import pytest
import torch
from PIL import Image

import tiny_geneval
from milr.base import Reward
from milr.rewards.clip import ClipReward
from milr.rewards.pickscore import REFERENCE_SCORE, PickScoreReward
from milr.rewards.vision.clip import ClipScore
from milr.types import JudgeError, Prompt, UsageError

PICTURE = Image.linear_gradient("L").convert("RGB").resize((64, 48))
OTHER = Image.new("RGB", (48, 64), (200, 30, 30))
LONG = "a " * 80  # 80 tokens, and a start and an end


@pytest.fixture(scope="module")
def clip():
    return tiny_geneval.clip()


def by_hand(clip, picture, text):
    pixels = clip.processor(images=picture, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        picture_features = clip.network.get_image_features(pixel_values=pixels).pooler_output[0]
        text_features = clip.network.get_text_features(**clip.tokenizer(text, return_tensors="pt")).pooler_output[0]
    return float(torch.cosine_similarity(picture_features, text_features, dim=0))


def scores(reward, pictures, texts):
    return asyncio.run(reward.score(pictures, [Prompt(text) for text in texts], None))


class Fixed:
    """In CLIP's place: every cosine is the same, and so is the learned scale."""

    def __init__(self, cosine, scale=100.0):
        self.cosine, self.logit_scale = cosine, scale

    def embed_picture(self, picture):
        return torch.tensor([1.0, 0.0])

    max_tokens = 77

    def num_tokens(self, text):
        return len(text.split())

    def embed_texts(self, texts, truncate=False):
        return torch.tensor([[self.cosine, math.sqrt(1 - self.cosine**2)]] * len(texts))


def test_both_are_rewards(clip):
    for reward in (ClipReward(ClipScore(clip)), PickScoreReward(clip)):
        assert isinstance(reward, Reward) and reward.licence and reward.range == (0.0, 1.0) and reward.needs == ()
    assert (ClipReward.name, ClipReward.threshold) == ("clip", 0.35)
    assert (PickScoreReward.name, PickScoreReward.threshold) == ("pickscore", 0.9)


@pytest.mark.parametrize("picture", [PICTURE, OTHER])
def test_clipscore_is_the_plain_cosine_of_the_network(clip, picture):
    assert ClipScore(clip)(picture, "a red cat") == pytest.approx(by_hand(clip, picture, "a red cat"), abs=1e-5)


def test_pictures_and_texts_matter(clip):
    score = ClipScore(clip)
    assert abs(score(PICTURE, "a cat") - score(OTHER, "a cat")) > 1e-3
    assert abs(score(PICTURE, "a cat") - score(PICTURE, "two dogs")) > 1e-3


def test_the_network_agrees_that_this_is_its_own_similarity(clip):
    inputs = {**clip.tokenizer("a red cat", return_tensors="pt"), **clip.processor(images=PICTURE, return_tensors="pt")}
    with torch.no_grad():
        logit = float(clip.network(**inputs).logits_per_image)
    assert PickScoreReward(clip).raw_score(PICTURE, "a red cat") == pytest.approx(logit, abs=1e-4)


def test_padding_changes_no_text(clip):
    together = clip.embed_texts(["a cat", "a much longer text about a cat"])
    assert torch.allclose(together[0], clip.embed_texts(["a cat"])[0], atol=1e-5)


@pytest.mark.parametrize(("cosine", "value"), [(0.25, 0.25), (-0.1, 0.0), (1.0, 1.0), (0.0, 0.0)])
def test_the_clip_reward_is_the_cosine_without_its_negative_side(cosine, value):
    (result,) = scores(ClipReward(ClipScore(Fixed(cosine))), [PICTURE], ["a cat"])
    assert result.value == pytest.approx(value, abs=1e-6) and f"cosine {cosine:.4f}" in result.reason


@pytest.mark.parametrize(
    ("raw", "value"), [(21.0, 0.5), (15.0, 1 / (1 + math.exp(6))), (25.0, 1 / (1 + math.exp(-4))), (23.2, 0.9002495)]
)
def test_the_pickscore_reward_is_the_chance_against_an_ordinary_picture(raw, value):
    (result,) = scores(PickScoreReward(Fixed(raw / 100)), [PICTURE], ["a cat"])
    assert result.value == pytest.approx(value, abs=1e-5) and f"PickScore {raw:.3f}" in result.reason
    assert not result.parts and REFERENCE_SCORE == 21


def test_pickscore_rises_with_the_raw_score():
    values = [scores(PickScoreReward(Fixed(raw / 100)), [PICTURE], ["a"])[0].value for raw in range(10, 31)]
    assert values == sorted(set(values)) and min(values) > 0 and max(values) < 1


def test_the_scale_is_the_learned_one(clip):
    assert clip.logit_scale == pytest.approx(math.exp(clip.network.logit_scale.item()))


def test_a_text_of_77_tokens_is_read_and_one_more_is_an_error(clip):
    assert math.isfinite(ClipScore(clip)(PICTURE, "a" * 75))  # with start and end
    with pytest.raises(JudgeError, match="78 tokens and CLIP reads 77"):
        ClipScore(clip)(PICTURE, "a" * 76)


def test_a_prompt_that_clip_cannot_read_is_refused_before_anything_is_drawn(clip):
    reward = ClipReward(ClipScore(clip))
    reward.check(Prompt("a" * 75))
    with pytest.raises(UsageError, match="clip reads 77 tokens, and the prompt .* has 82: shorten it"):
        reward.check(Prompt(LONG))


def test_pickscore_says_where_a_prompt_was_cut(clip):
    cut, whole = scores(PickScoreReward(clip), [PICTURE, PICTURE], [LONG, "a cat"])
    assert "of the prompt's 82 tokens it read the first 77" in cut.reason and "tokens" not in whole.reason
    assert cut.value is not None


def test_pickscore_truncates_as_its_authors_do(clip):
    raw = PickScoreReward(clip).raw_score
    assert raw(PICTURE, LONG) == pytest.approx(raw(PICTURE, "a " * 75), abs=1e-4)


@pytest.mark.parametrize("make", [lambda clip: ClipReward(ClipScore(clip)), PickScoreReward])
def test_nonsense_from_the_network_is_unscored(make):
    broken = tiny_geneval.clip()
    with torch.no_grad():
        broken.network.text_projection.weight.fill_(float("inf"))
    (result,) = scores(make(broken), [PICTURE], ["a cat"])
    assert result.value is None and "not finite" in result.reason


def test_bare_tensors_are_taken_too(clip, monkeypatch):
    expected = clip.embed_picture(PICTURE)
    wrapped = clip.network.get_image_features
    monkeypatch.setattr(clip.network, "get_image_features", lambda **inputs: wrapped(**inputs).pooler_output)
    assert torch.equal(clip.embed_picture(PICTURE), expected)


def test_both_load_from_folders(clip, tmp_path):
    folder = str(tiny_geneval.save_clip(tmp_path / "clip"))
    reward = ClipReward.load(folder, device="cpu")
    assert reward.clip_score(PICTURE, "a cat") == pytest.approx(ClipScore(clip)(PICTURE, "a cat"), abs=1e-5)
    weights = tmp_path / "weights"
    tiny_geneval.clip_network().save_pretrained(weights)  # as PickScore: the inputs are in another repository
    loaded = PickScoreReward.load(str(weights), folder, device="cpu")
    assert loaded.raw_score(OTHER, "a cat") == pytest.approx(PickScoreReward(clip).raw_score(OTHER, "a cat"), abs=1e-4)

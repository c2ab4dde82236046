"""BLIP and GIT as answerers, with small random networks: the same numbers as their own `generate` gives."""

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_judges
from milr.rewards.vision.vqa import BlipVQA, GitVQA
from milr.types import JudgeError, MissingError

PICTURE = Image.effect_noise((90, 60), 80).convert("RGB")
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


@pytest.fixture(scope="module")
def words():
    return tiny_judges.tokenizer()


@pytest.fixture(scope="module")
def blip(words):
    return BlipVQA(tiny_judges.blip(), words)


@pytest.fixture(scope="module")
def git(words):
    return GitVQA(tiny_judges.git(), words, tiny_judges.git_processor())


def share_of_yes(logits, words):
    """P(yes) / (P(yes) + P(no)) by the whole softmax."""
    chances = logits.double().softmax(-1)
    yes, no = (chances[words.convert_tokens_to_ids(word)] for word in ("yes", "no"))
    return float(yes / (yes + no))


def stretched(picture):
    """480 x 480 pixels by Pillow, CLIP's mean and spread taken out."""
    pixels = np.asarray(picture.resize((480, 480), Image.Resampling.BICUBIC), np.float32) / 255
    return torch.from_numpy((pixels - CLIP_MEAN) / CLIP_STD).float().permute(2, 0, 1)[None]


def blip_first_word(blip, words, question, start=tiny_judges.ENC):
    ids = words(question, return_tensors="pt")["input_ids"]
    ids[:, 0] = start
    output = blip.network.generate(
        input_ids=ids, pixel_values=stretched(PICTURE), attention_mask=torch.ones_like(ids),
        interpolate_pos_encoding=True, max_new_tokens=1, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    return share_of_yes(output.logits[0][0], words)


def test_blip_answers_what_its_own_generate_would_begin_with(blip, words):
    questions = ["a red car?", "the dog?", "is this a red traffic light?"]
    answers = blip.yes_probabilities(PICTURE, questions)
    assert answers == pytest.approx([blip_first_word(blip, words, question) for question in questions], abs=1e-5)
    assert max(answers) - min(answers) > 0.01 and all(0 < answer < 1 for answer in answers)


def test_blip_s_question_starts_with_its_own_mark(blip, words):
    (answer,) = blip.yes_probabilities(PICTURE, ["a red car?"])
    assert abs(answer - blip_first_word(blip, words, "a red car?", start=words.cls_token_id)) > 1e-3


def test_blip_s_questions_do_not_depend_on_each_other(blip):
    answer = blip.yes_probabilities
    together = answer(PICTURE, ["the dog?", "is this a red traffic light?"])
    assert together == [*answer(PICTURE, ["the dog?"]), *answer(PICTURE, ["is this a red traffic light?"])]
    assert answer(PICTURE, []) == []


def test_blip_sees_the_picture_and_cuts_long_questions(blip):
    answer = blip.yes_probabilities
    assert answer(PICTURE, ["the dog?"]) != answer(Image.new("RGB", (90, 60)), ["the dog?"])
    long = "red " * 33  # 33 words between two marks are 35 tokens
    assert answer(PICTURE, [long + "dog"]) == answer(PICTURE, [long + "cat dog"])
    assert answer(PICTURE, ["red " * 32 + "dog"]) != answer(PICTURE, ["red " * 32 + "cat"])


def test_git_answers_what_its_own_generate_would_begin_with(git, words):
    pixels = git.processor(images=PICTURE, return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 32, 32)

    def first_word(question):
        ids = torch.tensor([words(question)["input_ids"][:-1]])  # [CLS] and the question, no [SEP]
        output = git.network.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=1, output_logits=True,
                                    return_dict_in_generate=True)  # fmt: skip
        return share_of_yes(output.logits[0][0], words)

    questions = ["Is this a red car?", "Are there 2 dogs?"]
    answers = git.yes_probabilities(PICTURE, questions)
    assert answers == pytest.approx([first_word(question) for question in questions], abs=1e-6)
    assert abs(answers[0] - answers[1]) > 0.01


def test_numbers_that_are_not_finite_are_a_judge_s_failure(words):
    network = tiny_judges.git()
    with torch.no_grad():
        network.output.bias.fill_(float("nan"))
    with pytest.raises(JudgeError, match="not finite"):
        GitVQA(network, words, tiny_judges.git_processor()).yes_probabilities(PICTURE, ["the dog?"])


def test_a_vocabulary_without_yes_is_refused(monkeypatch, words):
    monkeypatch.setattr(tiny_judges, "WORDS", ["no", "dog"])
    with pytest.raises(MissingError, match="no yes or no"):
        BlipVQA(tiny_judges.blip(), tiny_judges.tokenizer())


def test_both_come_back_from_a_folder(tmp_path, blip, git, words):
    inputs = PICTURE, ["the dog?"]
    loaded = BlipVQA.load(tiny_judges.saved(tmp_path / "blip", blip.network, words), device="cpu")
    assert loaded.yes_probabilities(*inputs) == pytest.approx(blip.yes_probabilities(*inputs), abs=1e-5)
    assert loaded.network.config._attn_implementation == "eager"
    loaded = GitVQA.load(tiny_judges.saved(tmp_path / "git", git.network, words, git.processor), device="cpu")
    assert loaded.yes_probabilities(*inputs) == pytest.approx(git.yes_probabilities(*inputs), abs=1e-5)


@pytest.mark.parametrize("judge", [BlipVQA, GitVQA])
def test_a_folder_that_is_not_there_is_missing(judge):
    with pytest.raises(MissingError, match="no folder /nowhere"):
        judge.load("/nowhere")

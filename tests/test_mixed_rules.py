"""MixedReward's rules, and the phrases of a grounding detector, against cases worked out by hand."""

import numpy as np
import pytest

from milr.rules.grounding import GroundedBox, caption_of, ground, name_scores, spans_of
from milr.rules.mixed import (
    grounding_score,
    mixed_score,
    numeracy_score,
    question_of,
    questions_score,
    relation_score,
    suppress,
)


def at(x, y, width=0.2, height=0.2, score=0.9):
    return GroundedBox(score, (x, y, width, height))


def clause(name, count=1, **more):
    return {"class": name, "count": count, **more}


# Phrases


def test_the_caption_separates_names_by_full_stops():
    assert caption_of(["Traffic Light", "dog"]) == "traffic light . dog."
    assert caption_of(["dog"]) == "dog." and caption_of(["tv  remote"]) == "tv remote."


def test_a_name_is_its_first_word_and_of_two_words_also_the_last():
    names = ["traffic light", "dog", "big red dog"]
    caption, spans = caption_of(names), spans_of(names)
    words = {name: [caption[begin:end] for begin, end in positions] for name, positions in spans.items()}
    assert words == {"traffic light": ["traffic", "light"], "dog": ["dog"], "big red dog": ["big"]}


def test_a_name_inside_another_keeps_its_own_place():
    assert spans_of(["carrot", "car"]) == {"carrot": ((0, 6),), "car": ((9, 12),)}


def test_a_phrase_scores_the_mean_over_its_tokens():
    # "traffic light . dog." as [CLS] traffic li ##ght . dog . [SEP], and two more columns of padding
    offsets = [(0, 0), (0, 7), (8, 10), (10, 13), (14, 15), (16, 19), (19, 20), (0, 0)]
    probabilities = np.array([[9, 0.1, 0.2, 0.6, 9, 0.5, 9, 9, 9, 9], [9, 0.3, 0.3, 0.3, 9, 0.7, 9, 9, 9, 9]])
    spans = spans_of(["traffic light", "dog"])
    assert name_scores(probabilities, offsets, spans["traffic light"]) == pytest.approx([0.3, 0.3])
    assert name_scores(probabilities, offsets, spans["dog"]) == pytest.approx([0.5, 0.7])


def test_queries_above_the_threshold_are_kept_best_first():
    offsets, boxes = [(0, 0), (0, 3), (3, 4), (0, 0)], np.arange(16, dtype=np.float32).reshape(4, 4) / 16
    probabilities = np.float32([[0, 0.3, 0, 0], [0, 0.4, 0, 0], [0, 0.31, 0, 0], [0, 0.8, 0, 0]])
    grounded = ground(probabilities, boxes, offsets, names=["dog"])["dog"]
    assert [round(one.score, 2) for one in grounded] == [0.8, 0.4, 0.31]  # 0.3 itself is not above 0.3
    assert grounded[0].cxcywh == (0.75, 0.8125, 0.875, 0.9375)
    assert ground(probabilities, boxes, offsets, names=["dog"], threshold=0.9) == {"dog": []}


def test_boxes_have_corners_and_pixels():
    assert GroundedBox(0.5, (0.5, 0.25, 0.5, 0.25)).xyxy == (0.25, 0.125, 0.75, 0.375)
    assert GroundedBox(0.5, (0.5, 0.25, 0.5, 0.25)).to_pixels(480, 360).box == (120, 45, 360, 135)


# The grounding part


def test_a_relation_gives_a_fifth_for_each_object_and_half_for_the_position():
    left, right = at(0.2, 0.5), at(0.8, 0.5)
    assert relation_score("left of", [left], [right]) == pytest.approx(0.9)
    assert relation_score("left of", [right], [left]) == pytest.approx(0.4)
    assert relation_score("left of", [left], []) == relation_score("left of", [], [right]) == 0.2
    assert relation_score("left of", [], []) == 0


@pytest.mark.parametrize(
    ("relation", "offset"),
    [
        ("left of", (0.5, 0)), ("left", (0.5, 0)), ("on the left of", (0.5, 0)), ("right of", (-0.5, 0)),
        ("right", (-0.5, 0)), ("above", (0, 0.5)), ("on the top of", (0, 0.5)), ("below", (0, -0.5)),
    ],
)  # fmt: skip
def test_relations_in_genevals_words_and_in_compbenchs(relation, offset):
    first, second, back = at(0.5, 0.5), at(0.5 + offset[0], 0.5 + offset[1]), at(0.5 - offset[0], 0.5 - offset[1])
    assert relation_score(relation, [first], [second]) == pytest.approx(0.9)
    assert relation_score(relation, [first], [back]) == pytest.approx(0.4)


def test_next_to_always_holds_and_an_unknown_relation_never():
    assert relation_score("next to", [at(0, 0)], [at(1, 1)]) == pytest.approx(0.9)
    assert relation_score("inside", [at(0.5, 0.5)], [at(0.5, 0.5)]) == pytest.approx(0.4)


def test_only_the_best_boxes_decide_and_overlap_costs():
    best, other, right = at(0.9, 0.5), at(0.1, 0.5, score=0.4), at(0.8, 0.5)
    assert relation_score("left of", [best, other], [right]) == pytest.approx(0.4)
    wide, part = at(0.5, 0.5, 1.0, 1.0), at(0.75, 0.5, 0.5, 1.0)  # half of it: 0.1 / 0.5
    assert relation_score("left of", [wide], [part]) == pytest.approx(0.4 + 0.5 * 0.2)


def test_numbers_are_right_wrong_or_nothing():
    boxes = {"dog": [at(0.5, 0.8), at(0.8, 0.5)], "cat": []}
    assert numeracy_score([clause("dog", 2)], boxes) == 1.0
    assert numeracy_score([clause("dog", 3)], boxes) == numeracy_score([clause("dog", 1)], boxes) == 0.2
    assert numeracy_score([clause("cat")], boxes) == numeracy_score([clause("cow")], boxes) == 0.0
    assert numeracy_score([clause("dog", 2), clause("cat")], boxes) == 0.5
    assert numeracy_score([], boxes) == 1.0


def test_suppression_takes_centres_and_sizes_for_corners():
    far = at(0.7, 0.7, 0.2, 0.2)  # as corners it is inside out, and overlaps nothing
    assert suppress([far, far]) == [far, far]
    near = at(0.2, 0.2, 0.6, 0.6)  # as corners 0.2 to 0.6, both ways
    assert suppress([near, near]) == [near]
    half = at(0.0, 0.0, 1.0, 1.0), at(0.0, 0.0, 1.0, 0.5)  # exactly one half overlaps: both stay
    assert suppress(half) == list(half)
    assert suppress([at(0, 0, 1, 1), at(0, 0, 1, 0.51)]) == [at(0, 0, 1, 1)]
    assert suppress([]) == []


def test_a_relation_anywhere_decides_which_score_it_is():
    boxes = {"dog": [at(0.8, 0.5)], "cat": [at(0.2, 0.5)]}
    clauses = [clause("dog"), clause("cat", position=["left of", 0])]  # the cat is left of the dog
    assert grounding_score(clauses, boxes) == pytest.approx(0.9)
    assert grounding_score([clause("cat"), clause("dog", position=["left of", 0])], boxes) == pytest.approx(0.4)
    assert grounding_score([clause("dog"), clause("cat")], boxes) == 1.0
    assert grounding_score(clauses, {"dog": [at(0.8, 0.5)]}) == 0.2


# Questions and the whole


def test_a_question_for_each_clause():
    assert question_of(clause("dog")) == "Is this a dog?"
    assert question_of(clause("apple", color="red")) == "Is this a red apple?"
    assert question_of(clause("dog", 2)) == "Are there 2 dogs?"
    assert question_of(clause("bus", 4, color="red")) == "Are there 4 red buss?"  # the plural is always an s


def test_answers_are_averaged():
    assert questions_score([0.25, 0.75]) == 0.5 and questions_score([]) == 0.0


@pytest.mark.parametrize(("tag", "weights"), [("colors", (0.4, 0.4, 0.2)), ("color_attr", (0.4, 0.4, 0.2)),
                                              ("position", (0.6, 0.2, 0.2)), ("", (0.6, 0.2, 0.2))])  # fmt: skip
def test_weights_by_tag(tag, weights):
    alone = [mixed_score(*part, tag=tag) for part in [(1, 0, 0), (0, 1, 0), (0, 0, 1)]]
    assert alone == pytest.approx(weights)
    assert mixed_score(1, 1, 1, tag=tag) == 1.0 and mixed_score(0, 0, 0, tag=tag) == 0.0

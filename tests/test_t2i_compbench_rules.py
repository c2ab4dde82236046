"""T2I-CompBench's rules against cases worked out by hand."""

import pytest

from milr.rules import t2i_compbench as rules
from milr.rules.geneval import Detection
from milr.rules.t2i_compbench import (
    Token,
    attribute_score,
    complex_parts,
    iou,
    locality,
    most_confident,
    position_score,
    questions,
)
from milr.rules.t2i_compbench import spatial_score as score


def tokens(text):
    """ "a/DET red/ADJ car/NOUN" to tokens."""
    return [Token(*word.rsplit("/", 1)) for word in text.split()]


def box(x, y, size=2.0):
    """A square box around (x, y)."""
    return (x - size / 2, y - size / 2, x + size / 2, y + size / 2)


def detection(confidence, at=(0, 0)):
    return Detection(box(*at), confidence)


# Attributes


def test_mere_places_are_not_asked_about_but_only_in_this_spelling():
    assert questions(["a red car", "top", "the side", "the left", "the right"]) == ["a red car?"]
    assert questions(["The left", "the top"]) == ["the left?", "the top?"]
    assert questions([]) == []


def test_the_first_eight_chunks_that_are_left_are_asked_about():
    chunks = ["top", *(f"dog {number}" for number in range(9))]
    assert questions(chunks) == [f"dog {number}?" for number in range(8)]


def test_questions_are_cleaned_like_blip_does():
    assert questions(['A "RED" (big) car!']) == ["a red big car?"]
    assert questions(["*#:;~.a dog, really"]) == ["a dog, really?"]
    assert questions(["dog "]) == ["dog ?"]  # only blanks at the very end go
    assert questions([" ".join(["dog"] * 50)]) == [" ".join(["dog"] * 50) + "?"]
    assert questions([" ".join(["dog"] * 51)]) == [" ".join(["dog"] * 50)]  # the question mark is in the 51st word


def test_answers_are_rounded_before_and_after_they_are_multiplied():
    assert attribute_score([]) == 1.0
    assert attribute_score([0.9, 0.8]) == 0.72
    assert attribute_score([0.99994, 0.99996]) == 0.9999  # 0.9999 and 1.0
    assert attribute_score([0.00004, 1.0]) == 0.0
    assert attribute_score([0.3333, 0.3333]) == 0.1111  # 0.11108889
    assert attribute_score([0.33334, 0.33334, 0.33334]) == 0.037  # 0.3333 cubed is 0.03702


def test_answers_are_multiplied_in_float32():
    # 0.0001 is 9.9999997e-05 in float32, so half of it is below 0.00005; in float64 it is above and rounds to 0.0001.
    assert attribute_score([0.0001, 0.5]) == 0.0
    assert round(0.0001 * 0.5, 4) == 0.0001


# Which objects, and how they lie


def test_the_spatial_prompt_s_objects_are_its_first_and_last_noun():
    assert rules.first_and_last_noun(tokens("a/DET dog/NOUN near/ADP a/DET cat/NOUN")) == ("dog", "cat")
    assert rules.first_and_last_noun(tokens("a/DET dog/NOUN on/ADP side/NOUN of/ADP a/DET car/NOUN")) == ("dog", "car")
    assert rules.first_and_last_noun(tokens("one/NUM dog/NOUN")) == ("dog", "dog")
    assert rules.first_and_last_noun(tokens("Fido/PROPN barks/VERB")) is None


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("hat/NOUN was/AUX on/ADP top/NOUN of/ADP the/DET brown/ADJ coat/NOUN rack/NOUN", ("hat", "coat")),
        ("the/DET cat/NOUN is/AUX on/ADP the/DET left/NOUN of/ADP the/DET pillow/NOUN", ("cat", "pillow")),
        ("a/DET big/ADJ dog/NOUN Rex/PROPN next/ADV to/ADP a/DET cat/NOUN", ("Rex", "cat")),
        ("a/DET dog/NOUN near/ADP Rex/PROPN the/DET cat/NOUN", ("dog", "cat")),  # a noun goes before proper nouns
        ("a/DET dog/NOUN near/ADP New/PROPN York/PROPN City/PROPN ./PUNCT", ("dog", "City")),
        ("a/DET dog/NOUN near/ADP Rex/PROPN", None),  # nothing follows the proper noun
        ("a/DET dog/NOUN near/ADP it/PRON ./PUNCT", None),  # one word
        ("near/ADP a/DET dog/NOUN", None),
        ("a/DET dog/NOUN near/ADP a/DET cat/NOUN next/ADV to/ADP a/DET car/NOUN", None),  # four words
        ("near/ADP the/DET dog/NOUN near/ADP it/PRON ./PUNCT", ("dog", "dog")),  # one from each relation
        ("a/DET dog/NOUN Near/ADP a/DET cat/NOUN", None),  # capitals count
        ("a/DET dog/NOUN under/ADP a/DET cat/NOUN", None),
        ("", None),
    ],
)
def test_the_complex_prompt_s_objects_are_those_around_its_relation(text, pair):
    assert rules.nouns_around_relation(tokens(text)) == pair


def test_the_locality_is_the_first_of_the_list_wherever_it_stands():
    assert locality("a dog on the left of a cat") == "on the left of"
    assert locality("a dog on the left of a cat, near a car") == "near"  # "near" comes earlier in the list
    assert locality("a dog on side of a car next to a cat") == "on side of"
    assert locality("a dog with a linear pattern") == "near"  # inside a word
    assert locality("the hat was on top of the rack") == "on top of"
    assert locality("a dog on the top of a cat") == "on the top of"
    assert locality("the hat was On top of the rack") == "" and locality("a dog") == ""


def test_people_are_looked_for_as_persons():
    assert [rules.detector_label(word) for word in ("girl", "boy", "man", "woman")] == ["person"] * 4
    assert rules.detector_label("men") == "men" and rules.detector_label("Girl") == "Girl"


def test_the_most_confident_detection_of_the_same_word_counts():
    detections = {
        "dog": [detection(0.4), detection(0.9, (7, 7)), detection(0.5)],
        "person": [detection(0.6)],
        "dogs": [detection(1.0)],
    }
    assert most_confident("dog", detections) == detection(0.9, (7, 7))
    assert most_confident("woman", detections) == detection(0.6)
    assert most_confident("cat", detections) is None and most_confident("do", detections) is None
    assert most_confident("cat", {"cat": []}) is None


def test_strict_nouns_are_never_found():
    assert len(rules.UNDETECTABLE) == 9
    for word in rules.UNDETECTABLE:
        assert most_confident(word, {word: [detection(0.9)]}) == detection(0.9)
        assert most_confident(word, {word: [detection(0.9)]}, strict=True) is None
    assert most_confident("dog", {"dog": [detection(0.9)]}, strict=True) == detection(0.9)


def test_positions_are_judged_in_a_frame_size_479_pixels():
    assert rules.frame_size(384, 384) == (479, 479) and rules.frame_size(1024, 1024) == (479, 479)
    assert rules.frame_size(512, 384) == (480, 360) and rules.frame_size(300, 600) == (240, 480)
    assert rules.frame_size(1000, 999) == (479, 479)  # 479 x 1000 / 999 is 479.48


def test_overlap_is_intersection_over_union():
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert iou((0, 0, 2, 2), (0, 0, 2, 2)) == 1.0
    assert iou((0, 0, 2, 2), (2, 0, 4, 2)) == 0.0 and iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


@pytest.mark.parametrize("relation", ["next to", "on side of", "near"])
def test_near_is_less_than_150_pixels_along_either_axis(relation):
    def at(x, y):
        return position_score(relation, box(200, 200), box(200 + x, 200 + y))

    assert at(149, 149) == at(-149, 400) == at(400, -149) == at(0, 0) == 1.0
    assert at(150, 0) == 1.0  # the other axis is near enough
    assert at(150, 150) == 1.0 == at(-150, -150)  # 150 / 150
    assert at(150, 300) == 0.5 == at(-300, 200)
    assert at(150, 151) == pytest.approx(150 / 151)


@pytest.mark.parametrize(
    ("relation", "held", "opposite"),
    [
        ("on the left of", (10, 3), (-10, 3)),  # the second object lies to the right of the first
        ("on the right of", (-10, 3), (10, 3)),
        ("on the top of", (3, 10), (3, -10)),
        ("on the bottom of", (3, -10), (3, 10)),
    ],
)
def test_directions_need_the_right_side_and_the_longer_axis(relation, held, opposite):
    def at(x, y):
        return position_score(relation, box(50, 50), box(50 + x, 50 + y))

    assert at(*held) == 1.0 and at(*opposite) == 0.0
    assert at(held[1], held[0]) == 0.0 and at(10, 10) == at(-10, -10) == at(0, 0) == 0.0


def test_overlapping_boxes_make_a_direction_count_less():
    first = (0, 0, 10, 10)
    assert position_score("on the left of", first, (9, 0, 10, 10)) == 1.0  # 10 of 100: exactly 0.1, and 0.1 / 0.1 is 1
    assert position_score("on the left of", first, (8, 0, 10, 10)) == pytest.approx(0.5)  # 20 of 100
    assert position_score("on the left of", first, (9.5, 0, 10, 10)) == 1.0  # 5 of 100
    assert position_score("near", first, (8, 0, 10, 10)) == 1.0  # nearness does not ask


@pytest.mark.parametrize("relation", ["on top of", "", "above"])
def test_other_relations_are_known_to_nobody(relation):
    assert position_score(relation, box(0, 0), box(0, 100)) == 0.0


def test_the_spatial_score_is_a_quarter_each_and_half_the_position():
    left, right = detection(0.8, (0, 0)), detection(0.6, (100, 0))
    assert score(left, right, "on the left of") == pytest.approx(0.85)
    assert score(detection(1.0, (0, 0)), detection(1.0, (100, 0)), "on the left of") == 1.0
    assert score(detection(0.0, (0, 0)), detection(0.0, (100, 0)), "on the left of") == 0.5
    assert score(detection(0.9, (0, 0)), detection(0.9, (300, 300)), "near") == pytest.approx(0.45 + 0.25)


def test_below_one_half_it_is_nothing():
    left, right = detection(0.99, (100, 0)), detection(0.99, (0, 0))
    assert score(left, right, "on the left of") == 0.0  # 0.495
    assert score(detection(1.0, (100, 0)), detection(1.0, (0, 0)), "on the left of") == 0.5  # exactly one half stays
    sure = detection(1.0)
    assert score(sure, None, "near") == score(None, sure, "near") == score(None, None, "near") == 0.0
    assert score(detection(0.9), detection(0.9, (0, 50)), "on top of") == 0.0  # 0.45: nobody knows this relation
    assert score(detection(0.1, (0, 0)), detection(0.1, (500, 500)), "near") == 0.0  # 0.05 + 0.5 x 150 / 500


def test_one_object_for_both_words_is_beside_itself_and_has_no_side():
    same = detection(0.8)
    assert score(same, same, "next to") == pytest.approx(0.9)
    assert score(same, same, "on the left of") == 0.0


# Complex prompts


def test_the_action_part_leaves_adjectives_out():
    text = "The/DET black/ADJ phone/NOUN was/AUX resting/VERB on/ADP it/PRON ./PUNCT"
    assert rules.without_adjectives(tokens(text)) == "The phone was resting on it ."
    assert rules.without_adjectives([]) == ""


def test_prompts_are_searched_for_up_to_their_first_full_stop():
    assert rules.list_key("The Dog ran. Fast.") == "the dog ran" == rules.list_key("the dog ran")
    assert rules.list_key("The dog \r") == "the dog \r" and rules.list_key(".") == ""


def test_the_lists_decide_which_parts_are_averaged():
    assert complex_parts(["spatial"]) == ("attribute", "spatial")
    assert complex_parts(["action"]) == ("attribute", "action")
    for neither in (["spatial+action"], []):
        assert complex_parts(neither) == ("attribute", "spatial", "action")

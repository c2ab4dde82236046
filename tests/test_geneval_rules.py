"""GenEval's rules against cases worked out by hand."""

import numpy as np
import pytest

from milr.rules.geneval import Detection, aggregate, best_objects, graded, iou, judge, relations
from milr.types import UsageError


def detection(score, box=(0, 0, 10, 10)):
    return Detection(box, score)


def at(x, y, size=2.0, score=0.9):
    return Detection((x - size / 2, y - size / 2, x + size / 2, y + size / 2), score)


def colours(table):
    """A classifier that reads an object's colour from its score."""
    return {"color": lambda name, objects: [table.get(one.score) for one in objects]}


def single(count=1, tag="single_object", **more):
    return {"tag": tag, "include": [{"class": "star", "count": count, **more}]}


def test_threshold_is_strict_in_float32():
    metadata = single()
    assert not judge({"star": [detection(0.3)]}, metadata).correct
    assert not judge({"star": [detection(0.3 + 1e-9)]}, metadata).correct  # the same float32
    assert judge({"star": [detection(float(np.nextafter(np.float32(0.3), np.float32(1))))]}, metadata).correct
    counted = single(tag="counting")
    assert not judge({"star": [detection(0.9)]}, counted).correct
    assert judge({"star": [detection(float(np.nextafter(np.float32(0.9), np.float32(1))))]}, counted).correct


def test_sixteen_best_per_class():
    objects = [detection(0.4 + i / 100) for i in range(20)]
    best = best_objects(objects, 0.3)
    assert [one.score for one in best] == [0.4 + i / 100 for i in range(19, 3, -1)]
    crowd = {"star": objects}
    assert judge(crowd, {"tag": "", "include": [], "exclude": [{"class": "star", "count": 17}]}).correct
    assert not judge(crowd, {"tag": "", "include": [], "exclude": [{"class": "star", "count": 16}]}).correct


def test_overlap_suppression_is_off_by_default_and_counts_pixels():
    assert iou((0, 0, 9, 9), (0, 0, 9, 9)) == 1
    assert iou((0, 0, 9, 9), (10, 0, 19, 9)) == 0  # 10 wide each, adjacent pixels
    assert iou((0, 0, 9, 9), (5, 0, 14, 9)) == pytest.approx(50 / 150)
    objects = [detection(0.9, (0, 0, 9, 9)), detection(0.8, (5, 0, 14, 9)), detection(0.7, (30, 0, 39, 9))]
    assert len(best_objects(objects, 0.3)) == 3
    assert [one.score for one in best_objects(objects, 0.3, max_iou=0.3)] == [0.9, 0.7]
    assert len(best_objects(objects, 0.3, max_iou=0.34)) == 3


def test_counting_needs_enough_and_not_too_many():
    metadata = single(2, "counting") | {"exclude": [{"class": "star", "count": 3}]}
    verdicts = [judge({"star": [detection(0.95)] * n}, metadata) for n in range(4)]
    assert [verdict.correct for verdict in verdicts] == [False, False, True, False]
    assert verdicts[1].reasons == ("expected star>=2, found 1",)
    assert verdicts[3].reasons == ("expected star<3, found 3",)
    assert judge({"star": [detection(0.95)] * 2 + [detection(0.85)]}, metadata).correct


def test_extra_objects_never_matter():
    assert judge({"star": [detection(0.5)] * 3, "moon": [detection(0.9)]}, single()).correct
    both = {"tag": "two_object", "include": [{"class": "star", "count": 1}, {"class": "moon", "count": 1}]}
    assert not judge({"star": [detection(0.9)]}, both).correct
    assert judge({"star": [detection(0.9)], "moon": [detection(0.31)], "heart": [detection(1.0)]}, both).correct


def test_only_the_top_instances_are_asked_for_their_colour():
    table = {0.9: "blue", 0.8: "red", 0.7: "red"}
    objects = {"star": [detection(0.7), detection(0.8), detection(0.9)]}
    assert not judge(objects, single(color="red"), colours(table)).correct
    assert judge(objects, single(color="blue"), colours(table)).correct
    two_red = judge(objects, single(2, color="red"), colours(table))
    assert not two_red.correct and "blue" in two_red.reasons[0]
    assert judge({"star": [detection(0.7), detection(0.8)]}, single(2, color="red"), colours(table)).correct


def test_an_attribute_without_a_classifier_is_an_error():
    with pytest.raises(UsageError, match="size"):
        judge({"star": [detection(0.9)]}, single(size="small"))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (at(0, 0), at(10, 0), {"left of"}),
        (at(10, 0), at(0, 0), {"right of"}),
        (at(0, 0), at(0, 10), {"above"}),
        (at(0, 10), at(0, 0), {"below"}),
        (at(0, 0), at(10, 10), {"left of", "above"}),  # 45 degrees: (10 - 0.4) / 14.142 = 0.679 each
        (at(10, 0), at(0, 10), {"right of", "above"}),
        # Unreduced norm: offset (-4, -3), sizes 10 + 10, so r = (-2, -1); -2 / 5 = -0.4 is no relation,
        # where the reduced norm would give -2 / 2.236 = -0.894, left of.
        (at(0, 0, 10), at(4, 3, 10), set()),
        (at(0, 0, 10), at(4.0, 0, 10), set()),  # r = -2, -2 / 4 = -0.5 exactly: strict
        (at(0, 0, 10), at(4.25, 0, 10), {"left of"}),  # -2.25 / 4.25 = -0.529
        (at(0, 0, 10), at(1.9, 0, 10), set()),  # reduced to nothing
        (at(5, 5), at(5, 5), set()),  # same centre: no division by zero
    ],
)  # fmt: skip
def test_relations(a, b, expected):
    assert relations(a, b) == expected


def test_an_offset_reduced_below_a_thousandth_is_no_relation():
    # Points (size 0) are not reduced: 0.0009 is nothing, 0.0011 is left of.
    assert relations(at(0, 0, 0), at(0.0009, 0, 0)) == set()
    assert relations(at(0, 0, 0), at(0.0011, 0, 0)) == {"left of"}


def placed(**anchor):
    return {"tag": "position", "include": [{"class": "moon", "count": 1, **anchor},
                                           {"class": "star", "count": 1, "position": ["left of", 0]}]}  # fmt: skip


def test_position_in_clauses():
    assert judge({"moon": [at(50, 0)], "star": [at(0, 0)]}, placed()).correct
    wrong = judge({"moon": [at(0, 0)], "star": [at(50, 0)]}, placed())
    assert not wrong.correct and wrong.reasons == ("expected star left of moon",)
    best_decides = {"moon": [at(50, 0)], "star": [at(0, 0, score=0.8), at(90, 0, score=0.9)]}
    assert not judge(best_decides, placed()).correct


def test_a_failed_anchor_fails_the_position():
    assert not judge({"star": [at(0, 0)]}, placed()).correct
    missed = judge({"moon": [at(50, 0, score=0.5)], "star": [at(0, 0)]}, placed(color="red"), colours({0.5: "blue"}))
    assert not missed.correct


def test_every_object_stands_to_every_anchor():
    metadata = {"tag": "", "include": [{"class": "moon", "count": 2},
                                       {"class": "star", "count": 2, "position": ["left of", 0]}]}  # fmt: skip
    stars = [at(0, 0), at(0, 8)]
    assert judge({"moon": [at(50, 0), at(60, 0)], "star": stars}, metadata).correct
    assert not judge({"moon": [at(50, 0), at(-50, 0)], "star": stars}, metadata).correct


def test_graded_gives_a_share_for_each_fact():
    metadata = {"tag": "binding", "include": [{"class": "moon", "count": 1, "color": "red"},
                                              {"class": "star", "count": 1, "position": ["left of", 0]}]}  # fmt: skip
    table = colours({0.5: "blue", 0.6: "red"})
    right = judge({"moon": [at(50, 0, score=0.6)], "star": [at(0, 0)]}, metadata, table)
    assert right.correct and graded(right) == 1.0
    colour_wrong = judge({"moon": [at(50, 0, score=0.5)], "star": [at(0, 0)]}, metadata, table)
    assert graded(colour_wrong) == pytest.approx((1 / 2 + 1) / 2) and not colour_wrong.correct
    lost = judge({"star": [at(0, 0)]}, metadata, table)
    assert graded(lost) == pytest.approx((0 + 1 / 2) / 2)
    assert graded(judge({}, metadata, table)) == 0.0
    too_many = judge({"star": [detection(0.9)] * 3}, single(2) | {"exclude": [{"class": "star", "count": 3}]})
    assert graded(too_many) == pytest.approx(1 / 2)


def test_overall_is_the_mean_of_task_means():
    scores = aggregate({"counting": [1.0, 0.0, 0.0, 0.0], "colors": [1.0]})
    assert scores == {"counting": 0.25, "colors": 1.0, "overall": 0.625}
    assert np.isnan(aggregate({})["overall"])

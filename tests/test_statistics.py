"""Statistics: worked by hand, equal to scipy and statsmodels, and right about simulated runs whose truth is known."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from milr.report import statistics
from milr.report.statistics import (
    clustered_bootstrap,
    holm,
    interval_of_mean,
    interval_of_share,
    mean_of,
    paired_test,
    stratified_interval,
    wilson,
)


def same_category(n: int) -> list[str]:
    """n values of one category."""
    return [""] * n


# --- Wilson and the clustered bootstrap


def test_wilson_by_its_formula():
    z, n, p = 1.959964, 20, 0.95
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + (z / n / 2) ** 2)
    assert wilson(19, 20) == pytest.approx((centre - half, centre + half), abs=1e-6)


@pytest.mark.parametrize(
    ("count", "n", "alpha"), [(0, 7, 0.05), (7, 7, 0.05), (2.5, 11.3, 0.01), (299, 300, 0.1), (1, 2, 1e-36)]
)
def test_wilson_is_that_of_statsmodels(count, n, alpha):
    assert wilson(count, n, alpha) == pytest.approx(proportion_confint(count, n, alpha=alpha, method="wilson"))


def test_share_of_one_sample_per_prompt_is_wilson():
    assert interval_of_share(list("abcde"), [True, True, True, True, False]) == wilson(4, 5)
    assert stratified_interval(same_category(5), list("abcde"), [1, 1, 1, 1, 0]) == pytest.approx(
        proportion_confint(4, 5, method="wilson")
    )


def test_share_of_several_samples_is_clustered():
    """Ten prompts of ten equal samples hold ten votes, not a hundred."""
    groups = [prompt for prompt in range(10) for _ in range(10)]
    result = interval_of_share(groups, [prompt < 5 for prompt in groups])
    assert result is not None and result.low < 0.25 and result.high > 0.75
    naive = wilson(50, 100)
    assert result.high - result.low > 2 * (naive.high - naive.low)


def test_share_that_is_the_same_for_every_prompt_is_not_certain():
    assert interval_of_share(["a", "a", "b", "b"], [True] * 4) == wilson(2, 2)
    assert interval_of_share(["a", "a"], [True, False]) == wilson(0.5, 1)
    assert interval_of_share([], []) is None


def test_bootstrap_is_repeatable_contains_the_mean_and_has_the_right_width():
    values = list(np.random.default_rng(0).random(400))
    result = clustered_bootstrap(range(400), values)
    assert result is not None and result == clustered_bootstrap(range(400), values)
    assert result.low < np.mean(values) < result.high
    assert result.high - result.low == pytest.approx(2 * 1.96 * np.std(values) / 20, rel=0.1)


def test_bootstrap_weighs_samples_and_not_prompts():
    """Ten prompts of nine right samples and ten of one wrong sample: the mean is 0.9, not 0.5."""
    groups = [prompt for prompt in range(20) for _ in range(9 if prompt < 10 else 1)]
    result = clustered_bootstrap(groups, [prompt < 10 for prompt in groups])
    assert result is not None and 0.7 < result.low < 0.9 < result.high < 1


def test_no_interval_without_spread():
    assert clustered_bootstrap(["a", "a"], [0.1, 0.9]) is None
    assert clustered_bootstrap([], []) is None and interval_of_mean(["a", "b"], [0.5, 0.5]) is None


# --- the overall score and its interval


def test_the_overall_score_is_the_mean_of_the_category_means():
    assert mean_of(["a", "a", "a", "b"], [1, 1, 0, 0]) == pytest.approx(1 / 3)  # (2/3 + 0) / 2, and not 1/2
    with pytest.raises(ValueError, match="at least one"):
        mean_of([], [])
    with pytest.raises(ValueError, match="argument"):
        mean_of(["a"], [0.5, 0.5])


def test_nothing_and_what_is_no_score():
    assert stratified_interval([], [], []) is None
    for wrong in ([1.5, 0], [0, -0.1], [math.nan, 0]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            stratified_interval(same_category(2), "ab", wrong)


def test_one_category_is_scipys_bootstrap():
    """Means agree within the noise of 2000 draws. Ten prompts: wider, by Student's t."""
    for n, level, widen in ((400, 0.95, 1.0), (10, 1 - 2 * stats.norm.cdf(-stats.t.ppf(0.975, 9)), math.sqrt(10 / 9))):
        values = np.random.default_rng(n).uniform(0.3, 0.7, n)
        asked = {"confidence_level": level, "n_resamples": 20000, "method": "percentile", "rng": 1}
        low, high = stats.bootstrap((values,), np.mean, **asked).confidence_interval
        mean, error = values.mean(), values.std() / math.sqrt(n)
        result = stratified_interval(same_category(n), range(n), values)
        assert result == pytest.approx((mean + widen * (low - mean), mean + widen * (high - mean)), abs=0.2 * error)
    low, high = stats.bootstrap((values,), np.mean, **asked | {"confidence_level": 0.95}).confidence_interval
    assert clustered_bootstrap(range(10), values) == pytest.approx((low, high), abs=0.2 * error)


def test_categories_weigh_the_same_and_are_drawn_apart():
    """A certain category of a thousand halves the width of the other; pooled it would hide it."""
    values = list(np.random.default_rng(0).uniform(0.2, 0.8, 100))
    alone = stratified_interval(same_category(100), range(100), values)
    result = stratified_interval(same_category(100) + ["b"] * 1000, range(1100), values + [0.5] * 1000)
    assert result is not None and alone is not None
    assert result.high - result.low == pytest.approx((alone.high - alone.low) / 2, rel=0.1)
    assert (result.low + result.high) / 2 == pytest.approx((np.mean(values) + 0.5) / 2, abs=0.005)


def test_prompts_of_the_same_name_in_two_categories_are_two_prompts():
    values = list(np.random.default_rng(0).random(80))
    strata = ["a"] * 40 + ["b"] * 40
    assert stratified_interval(strata, [*range(40), *range(40)], values) == stratified_interval(
        strata, range(80), values
    )


def test_without_spread_the_smaller_category_decides():
    """Two categories of n prompts tell as much as 2n in one; of 10 and 1000 as much as 4 / (1/10 + 1/1000) = 39.6."""
    assert stratified_interval(["a"] * 10 + ["b"] * 10, range(20), [1] * 20) == pytest.approx(wilson(20, 20))
    result = stratified_interval(["a"] * 10 + ["b"] * 1000, range(1010), [1] * 1010)
    assert result == pytest.approx(wilson(39.60396, 39.60396), abs=1e-6)
    assert stratified_interval(["a"], ["x"], [0.7]) == pytest.approx(wilson(0.7, 1))


def test_few_misses_are_wilson_with_the_effective_number():
    """40 prompts twice, one of them wrong both times: 39 effective votes (n - 1), as the samples of a prompt agree."""
    groups = [prompt for prompt in range(40) for _ in range(2)]
    alpha = 2 * stats.norm.cdf(-stats.t.ppf(0.975, 39))
    result = stratified_interval(same_category(80), groups, [prompt > 0 for prompt in groups])
    assert result == pytest.approx(proportion_confint(39 * 39 / 40, 39, alpha=alpha, method="wilson"))


# --- paired tests


def test_mcnemar_is_statsmodels_and_by_hand():
    """Five prompts won and one lost: 2 (1 + 6) / 64."""
    first, second = [0] * 5 + [1] + [1] * 4, [1] * 5 + [0] + [1] * 4
    result = paired_test(same_category(10), range(10), first, second)
    assert (result.name, result.p) == ("exact McNemar", pytest.approx(14 / 64))
    assert result.difference == pytest.approx(0.4)
    rng = np.random.default_rng(1)
    for _ in range(20):
        before, after = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
        table = [[np.sum((before == a) & (after == b)) for b in (0, 1)] for a in (0, 1)]
        expected = mcnemar(table, exact=True).pvalue
        assert paired_test(same_category(60), range(60), before, after).p == pytest.approx(expected)
        assert paired_test(["a"] * 30 + ["b"] * 30, range(60), before, after).p == pytest.approx(expected)


def test_sign_flips_of_three_prompts_by_hand():
    """Differences 0.3, 0.2 and -0.1: of eight patterns ++-, +++, --+ and --- are as far from 0."""
    result = paired_test(same_category(3), "abc", [0.1, 0.2, 0.5], [0.4, 0.4, 0.4])
    assert (result.name, result.p) == ("sign-flip permutation by prompt", 0.5)
    assert result.difference == pytest.approx(0.4 / 3)


def test_prompts_are_flipped_whole():
    """Two prompts of three seeds, all won: two flips of four are as far, whatever the number of seeds."""
    assert paired_test(same_category(6), "aaabbb", [0] * 6, [1] * 6).p == 0.5


@pytest.mark.parametrize("n", [8, 40])
def test_sign_flips_are_scipys(n):
    before, after = np.random.default_rng(n).random((2, n)) + [[0.0], [0.15]]
    asked = {"permutation_type": "samples", "n_resamples": 20000, "rng": 1}
    expected = stats.permutation_test((before, after), lambda x, y, axis: np.mean(x - y, axis=axis), **asked).pvalue
    assert paired_test(same_category(n), range(n), before, after).p == pytest.approx(
        expected, abs=0 if n == 8 else 0.01
    )


def test_sign_flips_of_one_verdict_per_prompt_are_mcnemar():
    """As a check of both: graded by a hair, the same data go the other way. 20 won and 8 lost."""
    first, second = np.r_[np.zeros(20), np.ones(8), np.zeros(9)], np.r_[np.ones(20), np.zeros(8), np.zeros(9)]
    exact = paired_test(same_category(37), range(37), first, second)
    flipped = paired_test(same_category(37), range(37), first * 0.99, second * 0.99)
    assert (exact.name, flipped.name) == ("exact McNemar", "sign-flip permutation by prompt")
    assert flipped.p == pytest.approx(exact.p, abs=0.006)


def test_categories_of_unequal_size_are_not_pooled():
    """Ten prompts won in one and ten of a hundred lost in the other: pooled it is a draw, by category 0.45."""
    first, second = [0] * 10 + [1] * 10 + [0] * 90, [1] * 10 + [0] * 100
    result = paired_test(["a"] * 10 + ["b"] * 100, range(110), first, second)
    assert result.difference == pytest.approx(0.45) and result.p < 0.01 and result.name.startswith("sign-flip")


@pytest.mark.parametrize("values", [[0, 1, 1, 0], [0.2, 0.4, 0.4, 0.9]])
def test_identical_rows_are_no_difference(values):
    result = paired_test(same_category(4), range(4), values, values)
    assert (result.difference, result.p) == (0, 1)
    assert result.interval is not None and result.interval.low == pytest.approx(-result.interval.high)


def test_no_change_in_many_prompts_says_more_than_in_few():
    """None of n changed: gains and losses are each at most z² / (n + z²)."""
    for n in (10, 300):
        result = paired_test(same_category(n), range(n), [1] * n, [1] * n).interval
        assert result == pytest.approx((-3.8415 / (n + 3.8415), 3.8415 / (n + 3.8415)), abs=1e-4)


def test_the_other_way_round_is_the_same_test():
    before, after = np.random.default_rng(3).random((2, 90))
    strata, groups = ["a"] * 45 + ["b"] * 45, [place // 3 for place in range(90)]
    forth, back = paired_test(strata, groups, before, after), paired_test(strata, groups, after, before)
    assert forth == paired_test(strata, groups, before, after)
    assert (forth.difference, forth.p) == (pytest.approx(-back.difference), back.p)
    assert forth.interval == pytest.approx((-back.interval.high, -back.interval.low), abs=0.01)


def test_rows_that_are_not_aligned_are_refused():
    with pytest.raises(ValueError):
        paired_test(same_category(2), "ab", [0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="at least one"):
        paired_test([], [], [], [])


def test_holm_by_hand_and_by_statsmodels():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])  # 3 x, 1 x (no less than), 2 x
    assert holm([]) == [] and holm([None]) == [None] and holm([0.2]) == [0.2]
    ps = list(np.random.default_rng(0).random(12) ** 3)
    assert holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]))


def test_a_thousand_values_take_well_under_a_second():
    before, after = np.random.default_rng(3).random((2, 1000))
    started = time.process_time()
    paired_test([place % 6 for place in range(1000)], range(1000), before, after)
    assert time.process_time() - started < 1


# --- simulated runs: the truth is the mean over the prompts there could be


class Setting(NamedTuple):
    """Categories with so many prompts each, and the mean difficulty of their prompts."""

    prompts: tuple[int, ...]
    means: tuple[float, ...]

    @property
    def truth(self) -> float:
        return float(np.mean(self.means))


SIX = (0.95, 0.8, 0.7, 0.6, 0.4, 0.3)
SMALL = Setting((10,) * 6, SIX)
LARGE = Setting((50,) * 6, SIX)
UNEQUAL = Setting((20, 30, 80), (0.9, 0.6, 0.3))
EASY = Setting((40,), (0.92,))
SINGLE = Setting((60,), (0.6,))


def rows(setting: Setting, seeds: int):
    """Category and prompt of each value, prompt by prompt."""
    strata = np.repeat(np.arange(len(setting.prompts)), np.array(setting.prompts) * seeds)
    return strata.tolist(), np.repeat(np.arange(sum(setting.prompts)), seeds).tolist()


def difficulties(rng, setting: Setting, seeds: int):
    """One chance of success per prompt, repeated for its seeds: this is what correlates them."""
    chances = [rng.beta(2 * m, 2 * (1 - m), n) for n, m in zip(setting.prompts, setting.means, strict=True)]
    return np.repeat(np.clip(np.concatenate(chances), 1e-6, 1 - 1e-6), seeds)


def verdicts(rng, chances):
    return (rng.random(len(chances)) < chances).astype(float)


def graded(rng, chances):
    return rng.beta(4 * chances, 4 * (1 - chances))


def coverage(interval, setting: Setting, seeds: int, values, runs: int) -> float:
    """The share of simulated runs in which the interval holds the truth."""
    rng, held = np.random.default_rng(11), 0
    for _ in range(runs):
        low, high = interval(*rows(setting, seeds), values(rng, difficulties(rng, setting, seeds)).tolist())
        held += low <= setting.truth <= high
    return held / runs


def redrawn(rng, setting, seeds):
    """A true null: both methods draw from the same chances."""
    chances = difficulties(rng, setting, seeds)
    return verdicts(rng, chances), verdicts(rng, chances)


def other_prompts(rng, setting, seeds):
    """A true null: the methods find different prompts hard, and the same on average."""
    return tuple(verdicts(rng, difficulties(rng, setting, seeds)) for _ in range(2))


def few_helped(rng, setting, seeds):
    """A true null that is skewed: 5 % of the prompts gain 0.8 and the others pay for it."""
    prompts = sum(setting.prompts)
    change = np.where(rng.random(prompts) < 0.05, 0.8, -0.8 * 0.05 / 0.95)
    before = rng.uniform(0.05, 0.1, prompts)
    return verdicts(rng, np.repeat(before, seeds)), verdicts(rng, np.repeat(before + change, seeds))


def sparse(rng, setting, seeds, share=0.05, gain=0.0):
    """A true null: 5 % of the samples are drawn again, all others are equal. With `gain`, so many are made right."""
    chances = difficulties(rng, setting, seeds)
    before = verdicts(rng, chances)
    after = np.where(rng.random(len(before)) < share, verdicts(rng, chances), before)
    return before, np.where(rng.random(len(before)) < gain, 1.0, after)


def improved(rng, setting, seeds):
    return sparse(rng, setting, seeds, gain=0.3)


def slightly_improved(rng, setting, seeds):
    return sparse(rng, setting, seeds, share=0.0, gain=0.05)


def rejects(pair, setting, seeds, runs, *, clustered=True, truth=0.0) -> tuple[float, float]:
    """The share of simulated runs with p <= 0.05, and the share whose interval holds the true difference."""
    rng, rejected, held = np.random.default_rng(12), 0, 0
    strata, groups = rows(setting, seeds)
    for _ in range(runs):
        before, after = (row.tolist() for row in pair(rng, setting, seeds))
        result = paired_test(strata, groups if clustered else range(len(groups)), before, after)
        rejected += result.p <= 0.05
        held += result.interval.low - 1e-9 <= truth <= result.interval.high + 1e-9
    return rejected / runs, held / runs


def test_intervals_hold_the_truth():
    """300 runs: one standard error is 1.3 %. An interval that takes samples for prompts does not pass."""
    assert 0.915 < coverage(stratified_interval, SMALL, 3, verdicts, 300) < 0.985
    assert 0.915 < coverage(stratified_interval, EASY, 3, verdicts, 300) < 0.985
    naive = coverage(lambda strata, groups, values: wilson(sum(values), len(values)), SINGLE, 3, verdicts, 300)
    assert naive < 0.9


def test_the_paired_test_keeps_its_size():
    """600 runs: one standard error is 0.9 %. A test that takes samples for prompts does not pass."""
    size, held = rejects(other_prompts, SINGLE, 3, 600)
    assert 0.02 < size < 0.08 and 0.92 < held < 0.98
    assert rejects(other_prompts, SINGLE, 3, 600, clustered=False)[0] > 0.1
    assert rejects(improved, SMALL, 3, 50)[0] > 0.9


@pytest.mark.long
@pytest.mark.parametrize("values", [verdicts, graded])
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("setting", [SMALL, LARGE, UNEQUAL, EASY, SINGLE])
def test_intervals_hold_the_truth_in_93_to_97_percent(setting, seeds, values):
    result = coverage(stratified_interval, setting, seeds, values, 2500)
    print(f"{setting.prompts} x {seeds} {values.__name__}: {result:.3f}")
    assert 0.93 <= result <= 0.97


@pytest.mark.long
def test_the_percentile_bootstrap_alone_would_not(monkeypatch):
    """Why few misses are Wilson's: 40 prompts at 0.92."""
    monkeypatch.setattr(statistics, "FEW", 0)
    assert coverage(stratified_interval, EASY, 3, verdicts, 1200) < 0.93


@pytest.mark.long
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("setting", [Setting((40,), (0.6,)), Setting((20,) * 6, SIX), LARGE, UNEQUAL])
@pytest.mark.parametrize("pair", [redrawn, other_prompts, few_helped, sparse])
def test_the_paired_test_rejects_a_true_null_in_about_5_percent(pair, setting, seeds):
    size, held = rejects(pair, setting, seeds, 1000)
    print(f"{pair.__name__} {setting.prompts} x {seeds}: size {size:.3f}, covered {held:.3f}")
    assert size <= 0.065 and held >= (0.92 if pair is few_helped else 0.93)  # that skewed, 40 prompts are few
    assert size >= 0.015 or pair in (few_helped, sparse), "a test that hardly ever rejects"


@pytest.mark.long
@pytest.mark.parametrize(("pair", "power", "gain"), [(improved, 0.97, 0.3), (slightly_improved, 0.85, 0.05)])
def test_the_paired_test_finds_a_real_difference(pair, power, gain):
    """A share `gain` of the wrong samples made right, in 300 prompts of 3 seeds."""
    result, held = rejects(pair, LARGE, 3, 600, truth=gain * (1 - LARGE.truth))
    print(f"{pair.__name__}: power {result:.3f}, covered {held:.3f}")
    assert result >= power and 0.93 <= held <= 0.99


@pytest.mark.parametrize("n", [1, 3, 7, 100])
@pytest.mark.parametrize("most", [1, 40, 1000])
def test_resamples_drawn_in_blocks_are_those_drawn_at_once(monkeypatch, n, most):
    rng = np.random.default_rng(n)
    for counts in (np.full(n, 3.0), rng.integers(1, 4, n).astype(float)):
        category = statistics._Category(rng.random(n), counts)
        drawn = np.random.default_rng(5).integers(0, n, (statistics.RESAMPLES, n))
        expected = category.sums[drawn].sum(1) / counts[drawn].sum(1)
        monkeypatch.setattr(statistics, "MOST_DRAWN", most)
        np.testing.assert_array_equal(statistics._resample(category, np.random.default_rng(5)), expected)


@pytest.mark.parametrize("several", [False, True])
def test_equal_results_of_many_prompts_are_resampled_together(monkeypatch, several):
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 4, 3000).astype(float) if several else np.ones(3000)
    category = statistics._Category(rng.binomial(counts.astype(int), 0.8).astype(float), counts)
    together = statistics._resample(category, np.random.default_rng(5))
    monkeypatch.setattr(statistics, "MANY", 10**9)
    one_by_one = statistics._resample(category, np.random.default_rng(5))
    assert len(together) == len(one_by_one) and not np.array_equal(together, one_by_one)
    assert abs(together.mean() - one_by_one.mean()) < 4 * one_by_one.std() / math.sqrt(len(together) / 2)
    assert abs(together.std() / one_by_one.std() - 1) < 0.1
    assert stats.ks_2samp(together, one_by_one).pvalue > 0.01


def test_different_results_of_many_prompts_are_resampled_one_by_one(monkeypatch):
    category = statistics._Category(np.random.default_rng(3).random(1500), np.ones(1500))
    before = statistics._resample(category, np.random.default_rng(5))
    monkeypatch.setattr(statistics, "MANY", 10**9)
    np.testing.assert_array_equal(before, statistics._resample(category, np.random.default_rng(5)))


def test_flips_in_blocks_are_those_at_once(monkeypatch):
    rng = np.random.default_rng(4)
    first, second = rng.random(40), rng.random(40) + 0.1
    whole = paired_test(same_category(40), range(40), first, np.minimum(second, 1))
    monkeypatch.setattr(statistics, "MOST_DRAWN", 100)
    assert paired_test(same_category(40), range(40), first, np.minimum(second, 1)) == whole

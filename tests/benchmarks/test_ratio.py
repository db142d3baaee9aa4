from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from quietframe_bench import ratio
from quietframe_bench.ratio import MIN_ROUNDS, median_ratio

ROUNDS, RUNS = 5, 10


@pytest.fixture
def few_resamples(monkeypatch):
    """So few that hundreds of intervals are found quickly."""
    monkeypatch.setattr(ratio, "RESAMPLES", 499)


def rounds_of(rng, median_ms, *, between, within, rounds=ROUNDS, runs=RUNS):
    """Samples whose rounds share a factor, as those of a machine that is now busier and now less. True median known."""
    factors = np.exp(rng.normal(0, between, rounds))
    return [median_ms * 1e6 * factor * np.exp(rng.normal(0, within, runs)) for factor in factors]


def one_by_one(old, new, rng):
    """The interval of a bootstrap that takes samples for independent: what is not to be done."""
    return bootstrap(
        (np.concatenate(old), np.concatenate(new)),
        lambda a, b, axis: np.median(b, axis=axis) / np.median(a, axis=axis),
        n_resamples=200,
        method="percentile",
        rng=rng,
    ).confidence_interval


def test_the_interval_holds_the_truth_in_95_percent_of_cases_where_one_of_single_samples_does_not(few_resamples):
    rng = np.random.default_rng(7)
    trials, truth = 250, 1.2
    by_rounds = by_samples = 0
    for _ in range(trials):
        old = rounds_of(rng, 10, between=0.03, within=0.02)
        new = rounds_of(rng, 12, between=0.03, within=0.02)
        found, naive = median_ratio(old, new), one_by_one(old, new, rng)
        by_rounds += found.low <= truth <= found.high
        by_samples += naive.low <= truth <= naive.high
    assert 0.935 <= by_rounds / trials <= 0.98
    assert by_samples / trials < 0.7


def test_the_interval_is_not_wider_than_it_must_be_where_samples_are_independent(few_resamples):
    rng = np.random.default_rng(8)
    trials = 100
    held = 0
    for _ in range(trials):
        old, new = (rounds_of(rng, 10, between=0, within=0.05) for _ in range(2))
        found = median_ratio(old, new)
        held += found.low <= 1 <= found.high
    assert 0.9 <= held / trials <= 0.99


def test_a_known_ratio_and_medians_in_milliseconds():
    old = [np.array([1e6, 2e6, 3e6])] * ROUNDS
    found = median_ratio(old, [times * 1.25 for times in old])
    assert (found.old_p50_ms, found.new_p50_ms) == (2, 2.5)
    assert (found.ratio, found.low, found.high) == pytest.approx((1.25, 1.25, 1.25))  # the rounds are all alike


def test_the_same_samples_give_the_same_interval():
    old, new = (rounds_of(np.random.default_rng(seed), 10, between=0.03, within=0.02) for seed in (1, 2))
    assert median_ratio(old, new) == median_ratio(old, new)
    assert median_ratio(old, old).low < 1 < median_ratio(old, old).high


def test_rounds_of_different_length_and_number_are_taken():
    rng = np.random.default_rng(3)
    old = [rng.normal(10e6, 1e5, runs) for runs in (1, 7, 30, 2, 5, 9)]
    new = [rng.normal(20e6, 1e5, runs) for runs in (3, 8, 2, 11)]
    found = median_ratio(old, new)
    assert found.ratio == pytest.approx(np.median(np.concatenate(new)) / np.median(np.concatenate(old)))
    assert 1.9 < found.low <= found.ratio <= found.high < 2.1


@pytest.mark.parametrize("side", [0, 1])
def test_too_few_rounds_give_no_interval(side):
    runs = [rounds_of(np.random.default_rng(4), 10, between=0.03, within=0.02) for _ in range(2)]
    runs[side] = runs[side][: MIN_ROUNDS - 1]
    found = median_ratio(*runs)
    assert (found.low, found.high) == (None, None)
    assert found.ratio > 0
    runs[side] = rounds_of(np.random.default_rng(4), 10, between=0.03, within=0.02, rounds=MIN_ROUNDS)
    assert median_ratio(*runs).low is not None


def test_a_stage_that_took_no_time_has_no_ratio():
    some, none = [np.full(3, 1e6)] * ROUNDS, [np.zeros(3)] * ROUNDS
    assert median_ratio(none, some).ratio is None
    assert median_ratio(some, none).ratio == 0
    mostly = [np.array([0, 1e6, 1e6])] * ROUNDS
    assert (median_ratio(mostly, some).ratio, median_ratio(mostly, some).low) == (1, None)

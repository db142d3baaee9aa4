"""How much longer one run took than another: the ratio of medians and how sure it is.

Frames that are timed one after the other share what the machine does at that moment, so they are not independent,
and resampling them one by one gives intervals that are far too narrow. The rounds of a run lie apart in time: they
are what is resampled. What lasts through a whole run, such as the clock or where memory lies, no resampling of its
samples can show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 9999
SEED = 0
"""Of the resampling, so that the same files give the same interval."""

MIN_ROUNDS = 4
"""With fewer rounds no interval is given: of three it holds the truth in nine cases of ten, of two in two of three."""

_BATCH = 1_000_000  # numbers in memory at a time: a file may hold any number of rounds


@dataclass(frozen=True)
class Ratio:
    """The medians of two runs in milliseconds, NEW / OLD, and its 95 % confidence interval.

    `ratio` is None where the old median is 0, `low` and `high` where there are too few rounds or a time of 0.
    """

    old_p50_ms: float
    new_p50_ms: float
    ratio: float | None
    low: float | None = None
    high: float | None = None

    @property
    def range_text(self) -> str | None:
        """The interval, for people."""
        return None if self.low is None else f"{self.low:.3f}–{self.high:.3f}"


def median_ratio(old_ns: Sequence[NDArray[np.float64]], new_ns: Sequence[NDArray[np.float64]]) -> Ratio:
    """Return the ratio of the medians of all samples, with a bootstrap interval over whole rounds.

    The interval is SciPy's percentile interval at the level that makes up for few rounds. See `_level`.

    Args:
        old_ns, new_ns: the samples of each round, (n,) with n above 0.
    """
    old, new = (float(np.median(np.concatenate(rounds))) for rounds in (old_ns, new_ns))
    medians = old / 1e6, new / 1e6
    if not old:
        return Ratio(*medians, None)
    fewest = min(len(old_ns), len(new_ns))
    if fewest < MIN_ROUNDS or min(map(np.min, old_ns)) == 0:
        return Ratio(*medians, new / old)

    from scipy.stats import bootstrap

    def ratios(old_index: NDArray[Any], new_index: NDArray[Any], axis: int) -> NDArray[Any]:
        assert axis == -1
        return _medians(new_ns, new_index) / _medians(old_ns, old_index)

    found = bootstrap(
        (np.arange(len(old_ns)), np.arange(len(new_ns))),
        ratios,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH // max(len(old_ns), len(new_ns))),
        vectorized=True,
        paired=False,
        confidence_level=_level(fewest),
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Ratio(*medians, new / old, float(found.low), float(found.high))


def _level(rounds: int) -> float:
    """Return the level at which a percentile interval over so few rounds holds the truth in 95 % of cases.

    Percentile intervals of few values are too narrow: the bootstrap's variance is short by (n - 1) / n, and normal
    quantiles stand where Student's belong. The expanded percentile interval corrects both (T. Hesterberg, "What
    Teachers Should Know About the Bootstrap", The American Statistician 69, 2015).
    """
    from scipy.stats import norm, t

    quantile = t.ppf((1 + CONFIDENCE) / 2, 2 * (rounds - 1)) * np.sqrt(rounds / (rounds - 1))
    return float(2 * norm.cdf(quantile) - 1)


def _medians(rounds: Sequence[NDArray[np.float64]], index: NDArray[Any]) -> NDArray[np.float64]:
    """Return the median of all samples of the drawn rounds, each draw that differs worked out once (of five, 126).

    index: (..., n) numbers of rounds. Returns (...).
    """
    draws, which = np.unique(np.sort(index, axis=-1).reshape(-1, index.shape[-1]), axis=0, return_inverse=True)
    medians = np.array([np.median(np.concatenate([rounds[number] for number in draw])) for draw in draws])
    return medians[which.reshape(index.shape[:-1])]

"""The best setting of a classical method, of those in its grid, on some of the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quietframe_bench.classical import METHODS, Setting
from quietframe_bench.contenders import Contender
from quietframe_bench.image_quality import OnStep, Picture, QualityRow, judge_rows


@dataclass(frozen=True)
class Choice:
    """How a method's setting was chosen at one noise level.

    Attributes:
        method: a name in `quietframe_bench.classical.METHODS`.
        sigma_255: the level of the noise that was added; None: the pictures had their own.
        tried: each setting of the grid with its mean PSNR in dB, best first; empty if nothing could be judged.
        images: on how many pictures.
        error: why nothing could be judged.
    """

    method: str
    sigma_255: float | None
    tried: Sequence[tuple[Setting, float]]
    images: int
    error: str | None = None

    @property
    def setting(self) -> Setting | None:
        """The best one."""
        return self.tried[0][0] if self.tried else None

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "method": self.method,
            "sigma_255": self.sigma_255,
            "images": self.images,
            "error": self.error,
            "tried": [{"setting": dict(setting), "psnr_db": psnr_db} for setting, psnr_db in self.tried],
        }


def choose_settings(
    methods: Sequence[str],
    sigmas_255: Sequence[float | None],
    pictures: Sequence[Picture],
    *,
    gray: bool,
    seed: int = 0,
    on_step: OnStep = lambda text, step, steps: None,
) -> list[Choice]:
    """For each method and level, try every setting on every picture. By mean PSNR; of equals, the first.

    gray: the pictures are gray.
    """
    rows = [
        QualityRow(Contender(f"{method}, grid", method=method, setting=setting), sigma_255)
        for method in methods
        for setting in METHODS[method].settings(gray=gray)
        for sigma_255 in sigmas_255
    ]
    judge_rows(rows, pictures, seed, on_step, measures=("psnr_db",))
    return [
        _choose(
            method, sigma_255, [row for row in rows if (row.contender.method, row.sigma_255) == (method, sigma_255)]
        )
        for method in methods
        for sigma_255 in sigmas_255
    ]


def _choose(method: str, sigma_255: float | None, rows: Sequence[QualityRow]) -> Choice:
    reached = [(row.contender.setting, psnr_db) for row in rows if (psnr_db := row.mean("psnr_db")) is not None]
    reached.sort(key=lambda one: -one[1])
    failed = [why for row in rows for why in row.failed.values()]
    error = None if reached else next(iter(failed), "no pictures to choose a setting on")
    return Choice(method, sigma_255, reached, len(rows[0].figures), error)


def every_for(count: int, wanted: int) -> int:
    """Every how many of `count` pictures to take so that there are about `wanted`, all along them."""
    return max(1, round(count / wanted))

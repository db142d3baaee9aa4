"""Contenders: what a comparison sets side by side, and how the measuring process makes each ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quietframe import Denoiser
    from quietframe_bench.classical import ClassicalDenoiser


@dataclass(frozen=True)
class Contender:
    """A denoiser in a comparison: a model file, or a classical method at a setting; neither: the noisy input.

    Attributes:
        name: what tables call it.
        model: the file.
        method, setting: a name in `quietframe_bench.classical.METHODS` and its parameters.
        told_255: the noise level that a model is told; None: the runtime estimates it for every frame.
        every: it is judged on every so many pictures.
    """

    name: str
    model: Path | None = None
    method: str | None = None
    setting: Mapping[str, float] = field(default_factory=dict)
    told_255: float | None = None
    every: int = 1

    @property
    def origin(self) -> tuple[Path | None, str | None]:
        """Contenders of one origin are judged by one process."""
        return self.model, self.method

    def request(self) -> dict[str, Any] | None:
        """What `make_denoiser` takes, in JSON's values; None for the noisy input."""
        if self.model is None and self.method is None:
            return None
        return {
            "model": None if self.model is None else str(self.model),
            "method": self.method,
            "setting": dict(self.setting),
        }

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "contender": self.name,
            "method": self.method,
            "setting": dict(self.setting),
            "told_sigma_255": self.told_255,
            "every": self.every,
        }


NOISY_INPUT = Contender("noisy input")

TOLD = ", level told"
"""Ends the name of a contender that knows the true level."""


def make_denoiser(
    *, model: str | None, method: str | None, setting: Mapping[str, float], threads: int | None = None
) -> Denoiser | ClassicalDenoiser:
    """Make a contender ready to be called with frames: of `Contender.request` and CPU threads (None: every core).

    Raises QuietFrameError where it cannot be used.
    """
    if method is not None:
        from quietframe.cpu import physical_cores
        from quietframe_bench.classical import ClassicalDenoiser

        return ClassicalDenoiser(method, setting, threads=threads or physical_cores())
    assert model is not None
    from quietframe import Denoiser

    return Denoiser(model, threads=threads)

"""The models of a running loop, by name: loaded when they are first needed, and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import QuietFrameError
from quietframe.live.controls import Settings
from quietframe.live.deadline import Deadline, Step, measure_ms
from quietframe.tasks import Denoiser

AUTO = "auto"
"""As a model's name: the best one that holds the frame rate."""


class Models:
    """Gives the model that is to run, as the controls and the deadline say.

    Args:
        openers: what loads each model, by name. Raises ModelLoadError when called.
        fps: the frame rate that `auto` is to hold.
        on_step: told when the deadline chose a model.
        on_problem: told, in a line, of a model that cannot be loaded.
    """

    def __init__(
        self,
        openers: Mapping[str, Callable[[], Denoiser]],
        *,
        fps: float,
        on_step: Callable[[Step], None] = lambda _step: None,
        on_problem: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._openers = openers
        self._fps = fps
        self._on_step, self._on_problem = on_step, on_problem
        self._loaded: dict[str, Denoiser] = {}
        self._failed: dict[str, QuietFrameError] = {}
        self._running: Denoiser | None = None
        self._deadline: Deadline | None = None

    def prepare(self, settings: Settings, size_wh: tuple[int, int]) -> None:
        """Load, for `auto` measure, and run what is to run first, so that the first frame finds it warm."""
        blank = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
        self.current(settings, blank)(blank, sigma_255=None)

    def current(self, settings: Settings, pixels: NDArray[np.uint8]) -> Denoiser:
        """The model for these pixels, with the strength that was set.

        For `auto`, the first time takes long: all models are loaded and measured. A model that cannot be loaded leaves
        the one that ran before at work, and `on_problem` is told, once.

        Raises what loading raised where no model ran before.
        """
        name = self._best(pixels) if settings.model == AUTO else settings.model
        self._running = self._load(name) or self._running
        if self._running is None:
            raise self._failed[name]
        denoiser = self._running
        denoiser.strength = settings.strength if denoiser.is_conditioned else min(settings.strength, 1.0)
        return denoiser

    def ran(self, settings: Settings, busy_ms: float, now_ns: int) -> None:
        """Note how long a frame took; the deadline may choose another model."""
        if settings.model == AUTO and self._deadline is not None and (step := self._deadline.add(busy_ms, now_ns)):
            self._on_step(step)

    def _best(self, pixels: NDArray[np.uint8]) -> str:
        if self._deadline is None:
            usable = {name: denoiser for name in self._openers if (denoiser := self._load(name))}
            if not usable:
                raise next(iter(self._failed.values()))
            times_ms = {name: measure_ms(denoiser, pixels) for name, denoiser in usable.items()}
            self._deadline = Deadline(times_ms, self._fps)
            self._on_step(self._deadline.first)
        return self._deadline.model

    def _load(self, name: str) -> Denoiser | None:
        if name not in self._loaded and name not in self._failed:
            try:
                self._loaded[name] = self._openers[name]()
            except QuietFrameError as exc:
                self._failed[name] = exc
                self._on_problem(str(exc))
        return self._loaded.get(name)

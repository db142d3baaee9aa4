"""The models of a running loop: loaded when they are first needed, and chosen by the frame rate to hold."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from quietframe.controls import Settings
from quietframe.errors import QuietFrameError
from quietframe.log import log
from quietframe.noise.estimate import estimate_noise
from quietframe.pipeline.cores import HEADROOM, Share
from quietframe.tasks import Denoiser, open_denoiser

AUTO = "auto"
"""As a model's name: the best one that holds the frame rate."""

_MEASURED_S = 0.4
_MIN_MEASURED_FRAMES = 5
_DOWN_NS = 2 * 10**9
_UP_NS = 10 * 10**9
_SOON_NS = 60 * 10**9
_MAX_WAIT_NS = 600 * 10**9
_MIN_FRAMES = 3  # to judge by


class Models:
    """Give the denoiser of each frame, as the controls and the frame rate say. Switches are logged.

    Args:
        loaded: denoisers by name, at least one.
        fps: the frame rate that `auto` is to hold.
        others: names of models that may be chosen too; by `auto` if one alone is loaded, and their terms allow
            commercial use.
        open_model: opens one of them when it is first chosen. Raises ModelLoadError.
        share: of the cores, where other pipelines run beside this one, too.
    """

    def __init__(
        self,
        loaded: Mapping[str, Denoiser],
        *,
        fps: float,
        others: Sequence[str] = (),
        open_model: Callable[[str], Denoiser] = open_denoiser,
        share: Share | None = None,
    ) -> None:
        self.names = (*loaded, *others)
        self._given = tuple(loaded)
        self._loaded = dict(loaded)
        self._failed: set[str] = set()
        self._fps, self._share = fps, share
        self._open_model = open_model
        self._running = next(iter(loaded.values()))
        self._deadline: Deadline | None = None
        self._warned = False

    @property
    def keep_16bit(self) -> bool:
        """Whether all models that are loaded keep 16 bits a channel."""
        return all(denoiser.keeps_16bit for denoiser in self._loaded.values())

    def prepare(self, settings: Settings, size_wh: tuple[int, int]) -> None:
        """Load (for `auto`, measure) and run the first model once, so that the first frame finds it warm."""
        blank = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
        denoiser = self.current(settings, blank)
        denoiser(blank, sigma_255=None)
        denoiser.reset()

    def current(self, settings: Settings, pixels: NDArray[np.uint8]) -> Denoiser:
        """Return the denoiser for a frame, with the strength of the settings.

        For `auto`, the first call takes long: all models are loaded and measured. If a model cannot be loaded, that is
        logged once, and the one that ran before goes on.

        pixels: (H, W, 3) or (H, W) uint8.
        """
        name = self._best(pixels) if settings.model == AUTO else settings.model
        denoiser = self._load(name) or self._running
        if denoiser is not self._running:
            denoiser.reset()  # what it remembers is of another time
        self._running = denoiser
        self._warn_of_lost_detail(denoiser, pixels)
        denoiser.strength = settings.strength if denoiser.is_conditioned else min(settings.strength, 1.0)
        return denoiser

    def note(self, settings: Settings, busy_ms: float, now_ns: int) -> None:
        """Note how long a frame took; `auto` may switch to another model."""
        if settings.model == AUTO and self._deadline is not None and (step := self._deadline.add(busy_ms, now_ns)):
            log.info("%s: %s", step.model, step.why)

    def _best(self, pixels: NDArray[np.uint8]) -> str:
        if self._deadline is None:
            names = self._given if len(self._given) > 1 else self.names
            usable = {
                name: denoiser
                for name in names
                if (denoiser := self._load(name)) and (name in self._given or not denoiser.card.is_non_commercial)
            }
            self._deadline = Deadline.measured(usable, pixels, self._fps, self._share)
            log.info("%s: %s", self._deadline.first.model, self._deadline.first.why)
        return self._deadline.model

    def _warn_of_lost_detail(self, denoiser: Denoiser, pixels: NDArray[np.uint8]) -> None:
        """Log once that a model works on less of a frame than there is."""
        height, width = pixels.shape[:2]
        seen_wh = denoiser.sees_wh
        if self._warned or seen_wh is None or (width <= seen_wh[0] and height <= seen_wh[1]):
            return
        self._warned = True
        log.warning(
            "%s works at %dx%d: an image of %dx%d comes back at its size, but without finer detail than that (the "
            "model camera keeps it)",
            *(denoiser.card.name, *seen_wh, width, height),
        )

    def _load(self, name: str) -> Denoiser | None:
        if name not in self._loaded and name not in self._failed:
            try:
                self._loaded[name] = self._open_model(name)
            except QuietFrameError as exc:
                self._failed.add(name)
                log.error("%s", exc)
        return self._loaded.get(name)


def measure_ms(denoise: Denoiser, frame: NDArray[np.uint8], seconds: float = _MEASURED_S) -> float:
    """Measure the 95th percentile of the time that a frame takes, everything included, in milliseconds.

    The noise level is estimated once before, as in a video, and the first frame is not counted. Every other frame is
    moved, so that a model that follows motion has to.

    Args:
        denoise: the model.
        frame: (H, W, 3) or (H, W) uint8.
        seconds: how long to measure, or for five frames.
    """
    level_255 = estimate_noise(frame) if denoise.estimates else None
    denoise(frame, sigma_255=level_255)
    moved = np.roll(frame, 4, axis=1)
    samples: list[int] = []
    end_ns = time.monotonic_ns() + round(seconds * 1e9)
    while len(samples) < _MIN_MEASURED_FRAMES or time.monotonic_ns() < end_ns:
        frame, moved = moved, frame
        start_ns = time.perf_counter_ns()
        denoise(frame, sigma_255=level_255)
        samples.append(time.perf_counter_ns() - start_ns)
    denoise.reset()
    return float(np.percentile(samples, 95)) / 1e6


@dataclass(frozen=True)
class Step:
    """A change of model.

    Attributes:
        model: its name.
        why: the reason in words, with figures.
        holds: whether it should hold the rate.
    """

    model: str
    why: str
    holds: bool = True


class Deadline:
    """Choose, frame after frame, the best model that holds a frame rate.

    Down: when frames took longer than their period, on average over two seconds. Up: when for ten seconds the headroom
    was enough for the time that the next better model took longer at the start. That is a guess: if the machine is
    slower now, two seconds will show it. A step down within a minute of a step up doubles the wait before the next step
    up, to ten minutes at most: a machine at the edge does not flap.

    Args:
        times_ms: the time of a frame with each model, measured at the start. A model that takes longer is a better one.
        fps: the rate to hold.
        remembering: those of them that remember the frames before, and are better than all others. What takes longer
            than a better one is left out.
        share: of the cores that several loops share. The first choice keeps to its fair part, a step up to what the
            others leave; and where all together need more than there is, who needs most steps down.
    """

    def __init__(
        self,
        times_ms: Mapping[str, float],
        fps: float,
        remembering: Collection[str] = (),
        share: Share | None = None,
    ) -> None:
        ranked = sorted(times_ms, key=lambda name: (name in remembering, times_ms[name]))
        self._names = [
            name
            for place, name in enumerate(ranked)
            if all(times_ms[name] <= times_ms[better] for better in ranked[place + 1 :])
        ]
        self._times_ms: Sequence[float] = [times_ms[name] for name in self._names]
        self._fps = fps
        self._period_ms = 1000 / fps
        self._share = share
        self._first_ms = self._period_ms * min(HEADROOM, share.fair if share else HEADROOM)
        fitting = [place for place, ms in enumerate(self._times_ms) if ms <= self._first_ms]
        self._place = fitting[-1] if fitting else 0
        self._state_need()
        self._busy: deque[tuple[int, float]] = deque()  # (when, ms) of the frames since the last step
        self._since_ns: int | None = None
        self._wait_ns = _UP_NS
        self._stepped_up_ns: int | None = None

    @classmethod
    def measured(
        cls, denoisers: Mapping[str, Denoiser], frame: NDArray[np.uint8], fps: float, share: Share | None = None
    ) -> Deadline:
        """Measure denoisers by name on a frame, (H, W, 3) or (H, W) uint8, to choose among them.

        With a share of the cores, what another loop measured at this size is taken over.
        """
        times_ms: dict[str, float] = {}
        for name, denoiser in denoisers.items():
            measure = partial(measure_ms, denoiser, frame)
            times_ms[name] = share.measured_ms((name, frame.shape), measure) if share else measure()
        return cls(times_ms, fps, {name for name, denoiser in denoisers.items() if denoiser.card.has_state}, share)

    @property
    def model(self) -> str:
        """The name of the model to run."""
        return self._names[self._place]

    @property
    def first(self) -> Step:
        """The choice at the start."""
        measured = ", ".join(f"{name} {ms:.1f} ms" for name, ms in zip(self._names, self._times_ms, strict=True))
        holds = self._times_ms[self._place] <= HEADROOM * self._period_ms
        verdict = "holds" if holds else "is the fastest, yet does not hold"
        shared = self._first_ms < HEADROOM * self._period_ms
        share = f", of which {self._first_ms:.1f} are its fair part" if shared else ""
        why = f"{verdict} {self._fps:g} fps ({self._period_ms:.1f} ms a frame{share}): {measured}"
        return Step(self.model, why, holds)

    def add(self, busy_ms: float, now_ns: int) -> Step | None:
        """Add the time that the loop spent on a frame of the present model. Returns a step, where it is time for one.

        now_ns: when, by `time.monotonic_ns()`.
        """
        if self._since_ns is None:
            self._since_ns = now_ns
        self._busy.append((now_ns, busy_ms))
        while self._busy and now_ns - self._busy[0][0] > _UP_NS:
            self._busy.popleft()
        return self._down(now_ns) or self._up(now_ns)

    def _down(self, now_ns: int) -> Step | None:
        assert self._since_ns is not None
        if self._place == 0 or now_ns - self._since_ns < _DOWN_NS:
            return None
        recent = [ms for when_ns, ms in self._busy if now_ns - when_ns <= _DOWN_NS]
        mean_ms = float(np.mean(recent))
        crowded = self._share is not None and self._share.is_to_yield
        if len(recent) < _MIN_FRAMES or (mean_ms <= self._period_ms and not crowded):
            return None
        soon = self._stepped_up_ns is not None and now_ns - self._stepped_up_ns < _SOON_NS
        self._wait_ns = min(2 * self._wait_ns, _MAX_WAIT_NS) if soon else _UP_NS
        limit = "all together need more cores than there are" if crowded else ""
        limit = limit or f"{self._fps:g} fps leave {self._period_ms:.1f}"
        why = f"{self.model} took {mean_ms:.1f} ms a frame for two seconds: {limit}"
        return self._step(-1, why, now_ns)

    def _up(self, now_ns: int) -> Step | None:
        assert self._since_ns is not None
        if self._place == len(self._names) - 1 or now_ns - self._since_ns < self._wait_ns:
            return None
        p95_ms = float(np.percentile([ms for _, ms in self._busy], 95))
        if len(self._busy) < _MIN_FRAMES:
            return None
        better_ms = p95_ms + self._times_ms[self._place + 1] - self._times_ms[self._place]
        most_ms = self._period_ms * min(HEADROOM, self._share.left if self._share else HEADROOM)
        if better_ms > most_ms:
            return None
        better = self._names[self._place + 1]
        self._stepped_up_ns = now_ns
        why = (
            f"{self.model} took {p95_ms:.1f} ms a frame (p95): {better} should take {better_ms:.1f} "
            f"of {self._period_ms:.1f}"
        )
        return self._step(1, why, now_ns)

    def _step(self, by: int, why: str, now_ns: int) -> Step:
        self._place += by
        self._busy.clear()
        self._since_ns = now_ns
        self._state_need()
        return Step(self.model, why)

    def _state_need(self) -> None:
        if self._share is not None:
            self._share.expect(self._times_ms[self._place], can_yield=self._place > 0)

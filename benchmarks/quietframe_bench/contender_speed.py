"""The time that contenders take for a frame, measured in turn in one run, whatever they are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from quietframe_bench.classical import METHODS
from quietframe_bench.contenders import TOLD, Contender
from quietframe_bench.frames import NOISE_SIGMA_255
from quietframe_bench.image_quality import OnStep
from quietframe_bench.process import Child, ChildError
from quietframe_bench.speed import ROUNDS, SpeedSettings, figures_of
from quietframe_bench.timing import Samples

MOST_SECS = 60.0
"""A contender is timed for so long at most, or for one frame: CBM3D would take an hour for fifty."""

_SLOW_MS = 1000.0  # whose first frame takes longer has no need of warm-up in every round


@dataclass
class ContenderTimes:
    """How long one contender takes at one size with one number of threads.

    Attributes:
        contender: what was timed.
        facts: its first frame, and its multiply-accumulates for a frame where it is a network.
        samples: the raw times.
        error: why there are none.
    """

    contender: Contender
    facts: dict[str, Any] = field(default_factory=dict)
    samples: Samples = field(default_factory=Samples)
    error: str | None = None

    def figures(self) -> dict[str, Any]:
        """As of `SpeedRow`; empty if it failed."""
        return {} if self.error else figures_of(self.samples)

    def p50_ms(self, stage: str) -> float | None:
        """The median of `engine` or of `total`, the whole call."""
        figures = self.figures()
        return figures["stages"][stage]["p50_ms"] if figures else None

    @property
    def gmacs_per_s(self) -> float | None:
        """10⁹ multiply-accumulates a second while the engine runs; None for what is no network."""
        engine_ms = self.p50_ms("engine")
        return self.facts["macs"] / engine_ms / 1e6 if engine_ms and self.facts.get("macs") else None

    def as_record(self) -> dict[str, Any]:
        """For JSON, with the raw samples."""
        return {
            **self.contender.as_record(),
            "model": self.contender.model and self.contender.model.name,
            "error": self.error,
            **self.facts,
            **self.figures(),
            "gmacs_per_s": self.gmacs_per_s,
            "warmup_ns": self.samples.warmup_ns,
            "samples_ns": self.samples.stages_ns,
        }


def timed_as(contender: Contender) -> Contender:
    """What is timed for a contender: told or estimated makes no row of its own, and methods that take a level get
    that of the frames that are timed.
    """
    setting = contender.setting
    if contender.method is not None and (told_as := METHODS[contender.method].told_as):
        setting = {told_as: NOISE_SIGMA_255}
    name = contender.method or contender.name.removesuffix(TOLD)
    return Contender(name, model=contender.model, method=contender.method, setting=setting)


def measure_contenders(
    contenders: Sequence[Contender],
    settings: SpeedSettings,
    *,
    gray: bool,
    on_step: OnStep = lambda text, step, steps: None,
) -> list[ContenderTimes]:
    """Time contenders, each in a process of its own, all in turn and over again, as `measure_speed` does.

    Args:
        contenders: as `timed_as` gives them.
        settings: of their sizes and numbers of threads the first of each; OpenCV gets these threads, too.
        gray: time gray frames.
        on_step: told (what, step, steps) as it goes on.
    """
    times = [ContenderTimes(contender) for contender in contenders]
    steps = len(times) * (ROUNDS + 1)
    with ExitStack() as stack:
        children = []
        for step, one in enumerate(times):
            on_step(f"open {one.contender.name}", step, steps)
            children.append(stack.enter_context(Child()))
            _enter(one, children[-1], settings, gray=gray)
        step = len(times)
        for turn in range(ROUNDS):
            order = list(zip(times, children, strict=True))
            for one, child in order if turn % 2 == 0 else order[::-1]:
                on_step(f"time {one.contender.name}", step, steps)
                step += 1
                _time(one, child, settings, turn)
    return times


def _enter(one: ContenderTimes, child: Child, settings: SpeedSettings, *, gray: bool) -> None:
    try:
        one.facts |= child.ask(
            "enter",
            contender=one.contender.request(),
            size_wh=settings.sizes_wh[0],
            threads=settings.threads[0],
            gray=gray,
        )
    except ChildError as exc:
        one.error = str(exc)


def _time(one: ContenderTimes, child: Child, settings: SpeedSettings, turn: int) -> None:
    """One round: its share of the frames, all along the rounds."""
    if one.error:
        return
    first_ms = one.facts["first_frame_ms"]
    frames = min(settings.runs, max(1, int(MOST_SECS * 1000 / first_ms)))
    share = frames * (turn + 1) // ROUNDS - frames * turn // ROUNDS
    if not share:
        return
    slow = first_ms > _SLOW_MS
    try:
        answer = child.ask(
            "block",
            warmup=0 if slow else settings.warmup,
            runs=share,
            min_secs=0 if slow else settings.min_secs / ROUNDS,
        )
    except ChildError as exc:
        one.error = str(exc)
        return
    one.samples.extend(Samples(**answer))

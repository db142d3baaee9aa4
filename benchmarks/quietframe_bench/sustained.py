"""A model that runs without a pause: whether it is as fast at the end as at the start, when the machine is hot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from quietframe_bench.process import Child, ChildError
from quietframe_bench.speed import SpeedRow, SpeedSettings, machine_now, open_row, plan_rows

_LOOK_S = 5.0
_ENDS_S = 60.0


@dataclass
class SustainedRow:
    """One model that ran on and on.

    Attributes:
        row: what it is.
        parts: of a few seconds each: when it began, `from_s`, the `samples_ns` of whole frames, and what the machine
            told at its end: see `machine_now`.
        seconds: how long it was to run.
    """

    row: SpeedRow
    seconds: float
    parts: list[dict[str, Any]] = field(default_factory=list)

    def as_record(self) -> dict[str, Any]:
        """The row for JSON: medians of its first and last minute, of half the time where it ran for less than two."""
        record = {"size_wh": self.row.size_wh, "threads": self.row.threads, "error": self.row.error, **self.row.facts}
        if self.row.error is None:
            ends_s = min(_ENDS_S, self.seconds / 2)
            first = _median_ms([part for part in self.parts if part["from_s"] < ends_s])
            last = _median_ms(
                [part for part in self.parts if part["from_s"] >= self.seconds - ends_s] or self.parts[-1:]
            )
            record |= {"ends_s": ends_s, "first_p50_ms": first, "last_p50_ms": last, "last_over_first": last / first}
        return record | {"parts": self.parts}


def measure_sustained(
    models: Sequence[Path],
    settings: SpeedSettings,
    seconds: float,
    on_step: Callable[[str, int, int], None] = lambda text, step, steps: None,
) -> list[SustainedRow]:
    """Run each model at each size and number of threads for so long, one after the other."""
    found = [SustainedRow(row, seconds) for model in models for row in plan_rows(model, settings)]
    for one in found:
        if one.row.error is not None:
            continue
        with Child() as child:
            if open_row(one.row, child, settings):
                _run(one, child, on_step)
    return found


def _run(one: SustainedRow, child: Child, on_step: Callable[[str, int, int], None]) -> None:
    start_s = monotonic()
    while (from_s := monotonic() - start_s) < one.seconds:
        on_step(one.row.model.name, int(from_s), int(one.seconds))
        try:
            answer = child.ask("block", warmup=0, runs=1, min_secs=min(_LOOK_S, one.seconds - from_s))
        except ChildError as exc:
            one.row.error = str(exc)
            return
        one.parts.append({"from_s": from_s, "samples_ns": answer["stages_ns"]["total"], **machine_now()})
    one.row.facts |= child.ask("memory")


def _median_ms(parts: Sequence[dict[str, Any]]) -> float:
    return float(np.median(np.concatenate([part["samples_ns"] for part in parts]))) / 1e6

"""Other methods beside the models: FFDNet's files, and the time of each candidate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quietframe.errors import QuietFrameError, UsageError
from quietframe_bench import ffdnet
from quietframe_bench.classical import CBM3D, METHODS
from quietframe_bench.frames import NOISE_SIGMA_255
from quietframe_bench.judging import LEVEL_KNOWN, Candidate, Condition, Entry, QualityRow, new_entry
from quietframe_bench.kinds.speed import SpeedJob, SpeedRow, SpeedSettings, measure_speed
from quietframe_bench.plan import FACTS, OnStep
from quietframe_bench.rows import Run
from quietframe_bench.samples import find_images

if TYPE_CHECKING:
    from quietframe.card import Colour

FFDNET = "FFDNet"
MAX_SECS = 60.0
"""A candidate is timed for so long at most, or for one frame: CBM3D would take an hour for fifty."""


def check_networks(folder: Path, weights: Path | None, calibrate: Path | None, *, gray: bool) -> None:
    """Raise UsageError for what would only come to light after minutes: FFDNet's weights and images."""
    colour: Colour = "GRAY" if gray else "BGR"
    if weights is not None:
        wanted = weights / ffdnet.WEIGHTS[colour]
        if not wanted.is_file():
            raise UsageError(f"{wanted}: no such file: expected {ffdnet.how_to_get_weights(colour)}")
    elif calibrate is not None:
        raise UsageError("--ffdnet-calibrate is for FFDNet: name its weights with --ffdnet-weights FOLDER")
    if calibrate is not None:
        judged = {_digest(path): path for path in find_images(folder)}
        for path in find_images(calibrate):
            if twin := judged.get(_digest(path)):
                raise UsageError(f"{path}: is also judged with ({twin}): calibrate with other images")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def networks(
    run: Run,
    conditions: Sequence[Condition],
    weights: Path | None,
    calibrate: Path | None,
    cache: Path,
    absent: dict[str, str],
    *,
    gray: bool,
) -> list[Entry]:
    """Make FFDNet's files, where weights and images to calibrate with are given. What fails is a failed row.

    absent: takes what is not measured, and what that needs.
    """
    colour: Colour = "GRAY" if gray else "BGR"
    entries = []
    for precision in ffdnet.PRECISIONS:
        name = f"{FFDNET} {precision}"
        if weights is None:
            absent[name] = ffdnet.how_to_get_weights(colour)
            continue
        if precision == "int8" and calibrate is None:
            absent[name] = "--ffdnet-calibrate FOLDER with images that are not judged with"
            continue
        blind = Candidate(name, model=cache / ffdnet.file_name(colour, precision))
        error = None
        try:
            ffdnet.make_files(weights, colour, [precision], cache, calibrate=calibrate)
        except QuietFrameError as exc:
            error = str(exc)
        entries += [new_entry(run, "images", blind, condition, error) for condition in conditions]
        for condition in conditions:
            known = replace(blind, name=f"{name}{LEVEL_KNOWN}", given_sigma_255=condition.sigma_255)
            entries.append(new_entry(run, "images", known, condition, error))
    return entries


def time_entries(
    run: Run, entries: Sequence[Entry], speed: SpeedSettings, on_step: OnStep, *, gray: bool
) -> list[SpeedRow]:
    """Time the candidates as `speed` does, in turn and each in a process of its own; note the time in their rows.

    A known level makes no row of its own, and methods that take a level get that of the frames that are timed.
    """
    users: dict[tuple[Any, ...], list[QualityRow]] = {}
    jobs: dict[tuple[Any, ...], SpeedJob] = {}
    for entry in entries:
        candidate, row = entry.candidate, entry.row
        if row.is_noisy_input or row.error is not None:
            continue
        setting = {"sigma": NOISE_SIGMA_255} if candidate.method == CBM3D else dict(candidate.setting)
        key = (*candidate.origin, *setting.items())
        users.setdefault(key, []).append(row)
        if key in jobs:
            continue
        facts = {name: getattr(row, name) for name in FACTS}
        if candidate.method:
            facts["name"] = " ".join([candidate.method, _in_words(candidate.method, setting)]).strip()
        where = {"size_wh": speed.sizes_wh[0], "threads": speed.threads[0]}
        what = {"method": candidate.method, "setting": setting}
        timed = run.row(SpeedRow, candidate.model, **facts, **where, **what)
        opens = {"model": candidate.model, "task": row.task, "gray": gray, **where, **what}
        jobs[key] = SpeedJob(timed, opens)
    measure_speed(list(jobs.values()), replace(speed, max_secs=MAX_SECS), on_step)
    for key, job in jobs.items():
        for row in users[key]:
            row.total_p50_ms = job.row.p("total", 50)
    return [job.row for job in jobs.values()]


def _in_words(method: str, setting: Mapping[str, float]) -> str:
    """Return a setting, without what is the same in every setting of the method."""
    textbook, grid = METHODS[method].textbook, METHODS[method].grid
    shown = [
        f"{name} {value:g}"
        for name, value in setting.items()
        if name not in textbook or any(one.get(name, value) != textbook[name] for one in grid)
    ]
    return ", ".join(shown)

"""Judging: denoisers side by side on the same noisy frames, those of each model or method in a process of their own."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median
from time import perf_counter_ns
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import FrameError, QuietFrameError
from quietframe_bench.plan import OnStep, counted, ignore_step
from quietframe_bench.process import Child, ChildError
from quietframe_bench.rows import FACTS, ModelRow, Run, named_failure, set_fields, utc_now
from quietframe_bench.samples import Sample

NOISY_INPUT = "noisy input"
_FIGURES = ("psnr_db", "ssim", "flicker_255", "ghost_255", "estimated_sigma_255", "psnr_to_input_db")


class Condition(NamedTuple):
    """The noise that is added: its level in 8-bit levels, and the camera format that delivers it, if any.

    Without a level the samples have noise of their own. motion: of videos, as they are or their first frame held still.
    """

    sigma_255: float | None = None
    format: str | None = None
    motion: Literal["moving", "still"] | None = None


class QualityRow(ModelRow, kw_only=True, tag="quality"):
    """One candidate, a model, a classical method at a setting or the noisy input, under one condition.

    Attributes:
        source: what it was judged on: `images`, `pairs`, `video`, or `formats` for images in the formats of cameras.
        candidate: what tables call it.
        sigma_255, format, motion: see `Condition`.
        method, setting: of a classical one: a name in `quietframe_bench.classical.METHODS` and its parameters.
        given_sigma_255: the noise level passed to a model; None: the runtime estimates it for every frame.
        every: it is judged on every so many samples.
        psnr_db, ssim, flicker_255, estimated_sigma_255, psnr_to_input_db: means over the samples.
        ghost_255: the same, over the videos in which something comes into view.
        gain_db: the mean of how much better than the noisy input it is, in dB of PSNR; of pairs and formats.
        gaining_share: the share of pairs that gain, in [0, 1].
        worst_gain_db, worst_sample: of the pair that gains least.
        lead_db: as `gain_db`, over the bilateral filter at its best; of formats.
        total_p50_ms: the median time of a frame, where it was timed; of video the mean over `ms_by_sample`.
        by_sample: each sample's figures; of a video the means over its frames.
        by_frame: of each video every frame's figures; the first one has no flicker.
        ms_by_sample: of each video the median time of a frame.
        failed_samples: what could not be judged, and why.
    """

    source: str
    candidate: str
    sigma_255: float | None = None
    format: str | None = None
    motion: Literal["moving", "still"] | None = None
    method: str | None = None
    setting: dict[str, float] = msgspec.field(default_factory=dict)
    given_sigma_255: float | None = None
    every: int = 1
    psnr_db: float | None = None
    ssim: float | None = None
    flicker_255: float | None = None
    ghost_255: float | None = None
    estimated_sigma_255: float | None = None
    psnr_to_input_db: float | None = None
    gain_db: float | None = None
    gaining_share: float | None = None
    worst_gain_db: float | None = None
    worst_sample: str | None = None
    lead_db: float | None = None
    total_p50_ms: float | None = None
    by_sample: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    by_frame: dict[str, dict[str, dict[str, float]]] = msgspec.field(default_factory=dict)
    ms_by_sample: dict[str, float] = msgspec.field(default_factory=dict)
    failed_samples: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def condition(self) -> Condition:
        """The noise that was added."""
        return Condition(self.sigma_255, self.format, self.motion)

    @property
    def is_noisy_input(self) -> bool:
        """Whether this is the noisy input itself."""
        return self.candidate == NOISY_INPUT

    def finish(self) -> None:
        """Derive the means."""
        self.finished_utc = utc_now()
        set_fields(self, dict.fromkeys(_FIGURES) | means(self.by_sample.values()))
        if self.ms_by_sample:
            self.total_p50_ms = fmean(self.ms_by_sample.values())

    def gains_db(self, other: QualityRow) -> dict[str, float]:
        """Return how much better than another row it is in dB of PSNR, by the samples that both were judged on."""
        there = other.by_sample
        return {name: of["psnr_db"] - there[name]["psnr_db"] for name, of in self.by_sample.items() if name in there}

    def failures(self) -> list[str]:
        """Say what failed; a sample's own failure once, whoever was judged on it."""
        if self.error:
            return [named_failure(self.candidate, self.error)]
        return [named_failure(sample, why) for sample, why in self.failed_samples.items()]


class Entry(NamedTuple):
    """A row to be judged, and the model's file."""

    row: QualityRow
    model: Path | None

    @property
    def origin(self) -> tuple[Path | None, str | None]:
        """Rows of one origin are judged by one process."""
        return self.model, self.row.method


class Choice(NamedTuple):
    """How the best of several entries was chosen under one condition.

    Attributes:
        best: the one with the greatest mean PSNR; of equals, the first; ready to be judged on other samples.
        tried: each one's setting, or the level passed to it, with its mean PSNR in dB, best first.
        samples: on how many samples.
    """

    best: Entry
    tried: Sequence[tuple[Mapping[str, float], float]]
    samples: int

    def as_record(self) -> dict[str, Any]:
        """Return it for the details of a row."""
        row, more = self.best.row, {"tried": self.tried, "samples": self.samples}
        return {"method": row.method, "file": row.file or None, **row.condition._asdict(), **more, "error": row.error}


def means(of: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over those that have it."""
    figures = list(of)
    names = dict.fromkeys(name for one in figures for name in one)
    return {name: fmean(one[name] for one in figures if name in one) for name in names}


def new_entry(
    run: Run, source: str, candidate: str, condition: Condition, model: Path | None = None, **fields: Any
) -> Entry:
    """Make the row of a candidate. fields: of `QualityRow`."""
    about = {"source": source, "candidate": candidate, **condition._asdict(), **fields}
    return Entry(run.row(QualityRow, model, **about), model)


def judge_entries(
    entries: Sequence[Entry], samples: Sequence[Sample], on_step: OnStep = ignore_step, *, cache: Path | None
) -> None:
    """Fill in rows, but for those with an error; those of each origin in a process of their own.

    cache: a folder that is there for as long as the same samples are judged, for what is found in the clean frames
    alone; None: PSNR is enough.
    """
    good = [entry for entry in entries if entry.row.error is None]
    step = counted(on_step, sum(len(samples[:: entry.row.every]) for entry in good))
    for origin in dict.fromkeys(entry.origin for entry in good):
        rows = [entry.row for entry in good if entry.origin == origin]
        with Child() as child:
            if origin[0]:
                facts = _facts(child, origin[0])
                for row in rows:
                    set_fields(row, facts)
            for condition in dict.fromkeys(row.condition for row in rows):
                for place, sample in enumerate(samples):
                    for row in rows:
                        if row.condition == condition and place % row.every == 0:
                            step(f"{row.candidate} on {sample.name}")
                            _judge(child, row, origin[0], sample, cache)
    for row, _ in good:
        row.finish()


def _facts(child: Child, model: Path) -> dict[str, Any]:
    """Return a denoiser's metadata, or its error."""
    try:
        found = child.call("subject:describe", model=model)
    except ChildError as exc:
        return {"error": str(exc)}
    if "denoise" not in found["task"].split("+"):
        return {"error": f"this model does {found['task']}, not denoise"}
    return {name: found[name] for name in FACTS}


def _judge(child: Child, row: QualityRow, model: Path | None, sample: Sample, cache: Path | None) -> None:
    if row.error:
        return
    what = {"sample": msgspec.to_builtins(sample, enc_hook=str), "condition": row.condition}
    who = {"model": model, "method": row.method, "setting": row.setting, "given_sigma_255": row.given_sigma_255}
    try:
        found = child.call("judging:judge", **who, **what, cache=cache)
    except ChildError as exc:
        row.failed_samples[sample.name] = str(exc)
        return
    row.by_sample[sample.name] = means(found["frames"].values()) | found["whole"]
    if len(sample.clean) > 1:
        row.by_frame[sample.name] = found["frames"]
        if found["ms"] is not None:
            row.ms_by_sample[sample.name] = found["ms"]


def choose(groups: Sequence[Sequence[Entry]], samples: Sequence[Sample], on_step: OnStep = ignore_step) -> list[Choice]:
    """Judge groups of entries, each under one condition, and rank each group by mean PSNR.

    Where nothing could be judged, the first entry is the best, with the error in its row.
    """
    judge_entries([entry for group in groups for entry in group], samples, on_step, cache=None)
    return [_choose(group) for group in groups]


def unjudged(row: QualityRow, **fields: Any) -> QualityRow:
    """Return a row of the same candidate for figures to come, with other fields as given."""
    empty: dict[str, Any] = {name: {} for name in ("by_sample", "by_frame", "ms_by_sample", "failed_samples")}
    return msgspec.structs.replace(row, **empty, **fields)


def _choose(group: Sequence[Entry]) -> Choice:
    ranked = sorted((one for one in group if one.row.psnr_db is not None), key=lambda one: -(one.row.psnr_db or 0))
    failed = [why for row, _ in group for why in (row.error, *row.failed_samples.values()) if why]
    tried = [(row.setting or {"sigma_255": row.given_sigma_255 or 0.0}, row.psnr_db or 0.0) for row, _ in ranked]
    best = (ranked or group)[0]
    error = None if ranked else next(iter(failed), "nothing to choose on")
    row = unjudged(best.row, error=error)
    return Choice(Entry(row, best.model), tried, len(best.row.by_sample))


# In the measuring process


def judge(
    *,
    model: str | None,
    method: str | None,
    setting: dict[str, float],
    given_sigma_255: float | None,
    sample: dict[str, Any],
    condition: Sequence[Any],
    cache: str | None,
) -> dict[str, Any]:
    """Compare with each clean frame of a sample what a candidate makes of the noisy one.

    The noisy input is compared itself, and the level that is estimated in it comes along. Returns the figures of
    `frames` by their files' names, those of the `whole`, and in `ms` the median time of a frame, of methods for clips
    the mean.
    """
    from quietframe import estimate_noise
    from quietframe.quality import flicker_255, ghost_255, psnr_db, ssim
    from quietframe_bench.classical import CLIP_METHODS

    of, under = msgspec.convert(sample, Sample, dec_hook=lambda _type, text: Path(text)), Condition(*condition)
    frames: dict[str, dict[str, float]] = {}
    whole: dict[str, float] = {}
    times_ns: list[int] = []
    clip = _clip(of, under)
    is_input, is_video = model is method is None, len(of.clean) > 1
    results = iter(clip.noisy) if is_input else _denoised(clip.noisy, model, method, setting, given_sigma_255)
    judged: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    for index, (path, clean, noisy) in enumerate(zip(of.clean, clip.clean, clip.noisy, strict=True)):
        try:
            started = perf_counter_ns()
            result = next(results, None)
            times_ns.append(perf_counter_ns() - started)
            if result is None:
                raise FrameError(f"Expected {len(of.clean)} frames from {method}. Received: {index}")
            if index < of.skip:
                continue
            figures = {"psnr_db": psnr_db(clean, result)}
            if cache:
                figures["ssim"] = ssim(clean, result)
            if cache and judged:
                figures["flicker_255"] = flicker_255(judged[-1], (clean, result))
            if cache and under.format and not is_video and not is_input:
                figures["psnr_to_input_db"] = psnr_db(noisy, result)
            if is_input:
                figures["estimated_sigma_255"] = estimate_noise(noisy)
        except QuietFrameError as exc:
            raise _named(exc, path, of) from exc
        frames[path.name] = figures
        judged.append((clean, result))
    if cache and is_video and under.motion != "still":  # where nothing moves, nothing comes into view
        masks = _uncovered(of, clip.clean, Path(cache))[of.skip :]
        ghost = ghost_255((*pair, mask) for pair, mask in zip(judged, masks, strict=True))
        whole |= {} if ghost is None else {"ghost_255": ghost}
    # A filter of FFmpeg gives its first frame when all are done.
    time_ns = (fmean if method in CLIP_METHODS else median)(times_ns)
    return {"frames": frames, "whole": whole, "ms": None if is_input else time_ns / 1e6}


def _named(error: QuietFrameError, path: Path, sample: Sample) -> QuietFrameError:
    """Return an error with the name of the frame of a video that it is about."""
    if len(sample.clean) == 1:
        return error
    return QuietFrameError(f"{path.name}: {str(error).removeprefix(f'{path}: ')}")


def _denoised(
    noisy: Sequence[NDArray[np.uint8]],
    model: str | None,
    method: str | None,
    setting: Mapping[str, float],
    given_sigma_255: float | None,
) -> Iterator[NDArray[np.uint8]]:
    """Denoise frame by frame, or with a method that takes a whole clip as that."""
    denoise = _opened(model, method, tuple(setting.items()))
    if method is not None:
        yield from denoise.denoise(noisy)
        return
    denoise.reset()
    for frame in noisy:
        yield denoise(frame, sigma_255=given_sigma_255)


@lru_cache(maxsize=1)
def _opened(model: str | None, method: str | None, setting: tuple[tuple[str, float], ...]) -> Any:
    """Open a model, or a method at a setting. Raises QuietFrameError where it cannot be used."""
    from quietframe.cpu import physical_cores
    from quietframe.tasks import open_denoiser
    from quietframe_bench.classical import ClassicalDenoiser

    if method is None:
        return open_denoiser(str(model))
    return ClassicalDenoiser(method, dict(setting), threads=physical_cores())


class _Clip(NamedTuple):
    clean: Sequence[NDArray[np.uint8]]
    noisy: Sequence[NDArray[np.uint8]]


@lru_cache(maxsize=1)
def _clip(sample: Sample, condition: Condition) -> _Clip:
    """Return all frames of a sample. Nobody changes them: many settings are judged on them."""
    from quietframe.images import read_image
    from quietframe.noise import add_gaussian
    from quietframe.noise.formats import find_format

    if len(sample.clean) == 1:
        clean = _clean(sample, 0, condition)
        noisy = add_noise(clean, condition, sample.seed) if condition.sigma_255 is not None else None
        return _Clip([clean], [read_image(sample.noisy or sample.clean[0]).pixels if noisy is None else noisy])
    frames: list[NDArray[np.uint8]] = []
    for index, path in enumerate(sample.clean):
        if condition.motion == "still" and frames:
            frames.append(frames[0])
            continue
        try:
            frames.append(_clean(sample, index, condition))
            if frames[-1].shape != frames[0].shape:
                raise FrameError(f"Expected frames of one shape. Received: {frames[0].shape} and {frames[-1].shape}")
        except QuietFrameError as exc:
            raise _named(exc, path, sample) from exc
    level, name = condition.sigma_255 or 0.0, condition.format
    noisy_frames = [
        add_gaussian(frame, level, _rng(condition, [*sample.seed, index])) if level else frame
        for index, frame in enumerate(frames)
    ]
    return _Clip(frames, find_format(name).deliver_clip(noisy_frames) if name else noisy_frames)


def _clean(sample: Sample, index: int, condition: Condition) -> NDArray[np.uint8]:
    from quietframe.images import read_image

    image, (top, left) = read_image(sample.clean[index]), sample.crop
    return np.ascontiguousarray(image.bgr[top:, left:]) if condition.format else image.pixels


def _uncovered(sample: Sample, frames: Sequence[NDArray[np.uint8]], cache: Path) -> Sequence[NDArray[np.bool_]]:
    """Return where each clean frame was just uncovered, from the cache if it is there."""
    from quietframe.quality import just_uncovered

    path = cache / f"uncovered-{'-'.join(map(str, sample.seed))}.npy"
    if not path.exists():
        np.save(path, np.packbits(np.stack(list(just_uncovered(frames))), axis=-1))
    return list(np.unpackbits(np.load(path), axis=-1, count=frames[0].shape[1]).astype(np.bool_))


def add_noise(clean: NDArray[np.uint8], condition: Condition, seed: Sequence[int]) -> NDArray[np.uint8]:
    """Return a clean frame with the noise of a condition; see `Sample` for how it is drawn."""
    from quietframe.noise import add_gaussian
    from quietframe.noise.formats import deliver_noisy, find_format

    sigma_255, rng = condition.sigma_255 or 0.0, _rng(condition, seed)
    if condition.format is None:
        return add_gaussian(clean, sigma_255, rng)
    return deliver_noisy(clean, sigma_255, find_format(condition.format), rng)


def _rng(condition: Condition, seed: Sequence[int]) -> np.random.Generator:
    entropy = [*seed, round((condition.sigma_255 or 0.0) * 1000)]
    return np.random.default_rng([*entropy, *([zlib.crc32(condition.format.encode())] if condition.format else [])])

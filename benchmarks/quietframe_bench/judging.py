"""Judging: denoisers side by side on the same noisy frames, those of each model or method in a process of their own."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import QuietFrameError
from quietframe_bench.plan import OnStep, counted, ignore_step
from quietframe_bench.process import Child, ChildError
from quietframe_bench.rows import FACTS, ModelRow, Run, named_failure, set_fields, utc_now
from quietframe_bench.samples import Sample

NOISY_INPUT = "noisy input"
_FIGURES = ("psnr_db", "ssim", "flicker_255", "estimated_sigma_255", "psnr_to_input_db")


class Condition(NamedTuple):
    """The noise that is added: its level in 8-bit levels, and the camera format that delivers it, if any.

    Without a level the samples have noise of their own.
    """

    sigma_255: float | None = None
    format: str | None = None


class QualityRow(ModelRow, kw_only=True, tag="quality"):
    """One candidate, a model, a classical method at a setting or the noisy input, under one condition.

    Attributes:
        source: what it was judged on: `images`, `pairs`, `video`, or `formats` for images in the formats of cameras.
        candidate: what tables call it.
        sigma_255, format: see `Condition`.
        method, setting: of a classical one: a name in `quietframe_bench.classical.METHODS` and its parameters.
        given_sigma_255: the noise level passed to a model; None: the runtime estimates it for every frame.
        every: it is judged on every so many samples.
        psnr_db, ssim, flicker_255, estimated_sigma_255, psnr_to_input_db: means over the samples.
        gain_db: the mean of how much better than the noisy input it is, in dB of PSNR; of pairs and formats.
        gaining_share: the share of pairs that gain, in [0, 1].
        worst_gain_db, worst_sample: of the pair that gains least.
        lead_db: as `gain_db`, over the bilateral filter at its best; of formats.
        total_p50_ms: the median time of a frame, where it was timed.
        by_sample: each sample's figures; of a video the means over its frames.
        by_frame: of each video every frame's figures; the first one has no flicker.
        failed_samples: what could not be judged, and why.
    """

    source: str
    candidate: str
    sigma_255: float | None = None
    format: str | None = None
    method: str | None = None
    setting: dict[str, float] = msgspec.field(default_factory=dict)
    given_sigma_255: float | None = None
    every: int = 1
    psnr_db: float | None = None
    ssim: float | None = None
    flicker_255: float | None = None
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
    failed_samples: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def condition(self) -> Condition:
        """The noise that was added."""
        return Condition(self.sigma_255, self.format)

    @property
    def is_noisy_input(self) -> bool:
        """Whether this is the noisy input itself."""
        return self.candidate == NOISY_INPUT

    def finish(self) -> None:
        """Derive the means."""
        self.finished_utc = utc_now()
        set_fields(self, dict.fromkeys(_FIGURES) | means(self.by_sample.values()))

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
    entries: Sequence[Entry],
    samples: Sequence[Sample],
    on_step: OnStep = ignore_step,
    *,
    measures: Sequence[str] = ("psnr_db", "ssim"),
) -> None:
    """Fill in rows, but for those with an error; those of each origin in a process of their own.

    measures: those wanted of `psnr_db`, `ssim`, `flicker_255` and `psnr_to_input_db`.
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
                            _judge(child, row, origin[0], sample, measures)
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


def _judge(child: Child, row: QualityRow, model: Path | None, sample: Sample, measures: Sequence[str]) -> None:
    if row.error:
        return
    what = {"sample": msgspec.to_builtins(sample, enc_hook=str), "condition": row.condition, "measures": measures}
    who = {"model": model, "method": row.method, "setting": row.setting, "given_sigma_255": row.given_sigma_255}
    try:
        frames = child.call("judging:judge", **who, **what)
    except ChildError as exc:
        row.failed_samples[sample.name] = str(exc)
        return
    row.by_sample[sample.name] = means(frames.values())
    if len(frames) > 1:
        row.by_frame[sample.name] = frames


def choose(groups: Sequence[Sequence[Entry]], samples: Sequence[Sample], on_step: OnStep = ignore_step) -> list[Choice]:
    """Judge groups of entries, each under one condition, and rank each group by mean PSNR.

    Where nothing could be judged, the first entry is the best, with the error in its row.
    """
    judge_entries([entry for group in groups for entry in group], samples, on_step, measures=("psnr_db",))
    return [_choose(group) for group in groups]


def _choose(group: Sequence[Entry]) -> Choice:
    ranked = sorted((one for one in group if one.row.psnr_db is not None), key=lambda one: -(one.row.psnr_db or 0))
    failed = [why for row, _ in group for why in (row.error, *row.failed_samples.values()) if why]
    tried = [(row.setting or {"sigma_255": row.given_sigma_255 or 0.0}, row.psnr_db or 0.0) for row, _ in ranked]
    best = (ranked or group)[0]
    error = None if ranked else next(iter(failed), "nothing to choose on")
    row = msgspec.structs.replace(best.row, by_sample={}, failed_samples={}, error=error)
    return Choice(Entry(row, best.model), tried, len(best.row.by_sample))


# In the measuring process


def judge(
    *,
    model: str | None,
    method: str | None,
    setting: dict[str, float],
    given_sigma_255: float | None,
    sample: dict[str, Any],
    condition: tuple[float | None, str | None],
    measures: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Compare with each clean frame of a sample what a candidate makes of the noisy one.

    The noisy input is compared itself, and the level that is estimated in it comes along. Returns each frame's figures
    by its file's name.
    """
    from quietframe import estimate_noise
    from quietframe.quality import flicker_255, psnr_db, ssim

    of = msgspec.convert(sample, Sample, dec_hook=lambda _type, text: Path(text))
    found: dict[str, dict[str, float]] = {}
    is_input = model is method is None
    before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
    if model:
        _opened(model, method, tuple(setting.items())).reset()
    for index in range(len(of.clean)):
        name = of.clean[index].name
        try:
            clean, noisy = _frames(of, index, Condition(*condition))
            result = noisy
            if not is_input:
                known = {"sigma_255": given_sigma_255} if model else {}
                result = _opened(model, method, tuple(setting.items()))(noisy, **known)
            figures = {}
            if "psnr_db" in measures:
                figures["psnr_db"] = psnr_db(clean, result)
            if "ssim" in measures:
                figures["ssim"] = ssim(clean, result)
            if "flicker_255" in measures and before is not None:
                figures["flicker_255"] = flicker_255(before, (clean, result))
            if "psnr_to_input_db" in measures and not is_input:
                figures["psnr_to_input_db"] = psnr_db(noisy, result)
            if is_input:
                figures["estimated_sigma_255"] = estimate_noise(noisy)
        except QuietFrameError as exc:
            if len(of.clean) == 1:
                raise
            raise QuietFrameError(f"{name}: {str(exc).removeprefix(f'{of.clean[index]}: ')}") from exc
        found[name] = figures
        before = clean, result
    return found


@lru_cache(maxsize=1)
def _opened(model: str | None, method: str | None, setting: tuple[tuple[str, float], ...]) -> Any:
    """Open a model, or a method at a setting. Raises QuietFrameError where it cannot be used."""
    from quietframe.cpu import physical_cores
    from quietframe.tasks import open_denoiser
    from quietframe_bench.classical import ClassicalDenoiser

    return ClassicalDenoiser(method, dict(setting), threads=physical_cores()) if method else open_denoiser(str(model))


@lru_cache(maxsize=2)
def _frames(sample: Sample, index: int, condition: Condition) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the (clean, noisy) frames of an index. Nobody changes them: many settings are judged on one."""
    from quietframe.images import read_image

    image, (top, left) = read_image(sample.clean[index]), sample.crop
    clean = np.ascontiguousarray(image.bgr[top:, left:]) if condition.format else image.pixels
    if condition.sigma_255 is None:
        return clean, read_image(sample.noisy or sample.clean[index]).pixels
    return clean, add_noise(clean, condition, [*sample.seed, *([index] if len(sample.clean) > 1 else [])])


def add_noise(clean: NDArray[np.uint8], condition: Condition, seed: Sequence[int]) -> NDArray[np.uint8]:
    """Return a clean frame with the noise of a condition; see `Sample` for how it is drawn."""
    from quietframe.noise import add_gaussian
    from quietframe.noise.formats import deliver_noisy, find_format

    sigma_255 = condition.sigma_255 or 0.0
    entropy = [*seed, round(sigma_255 * 1000)]
    if condition.format is None:
        return add_gaussian(clean, sigma_255, np.random.default_rng(entropy))
    rng = np.random.default_rng([*entropy, zlib.crc32(condition.format.encode())])
    return deliver_noisy(clean, sigma_255, find_format(condition.format), rng)

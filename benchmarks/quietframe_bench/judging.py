"""Judging: denoisers side by side on the same noisy frames, those of each model or method in a process of their own."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import QuietFrameError
from quietframe_bench.plan import OnStep, counted, describe_denoiser, ignore_step
from quietframe_bench.process import Child, ChildError
from quietframe_bench.rows import ModelRow, Run, named_failure, set_fields, utc_now
from quietframe_bench.samples import Sample

LEVEL_KNOWN = ", level known"
"""Ends the name of a candidate that knows the true noise level."""
_FIGURES = ("psnr_db", "ssim", "flicker_255", "estimated_sigma_255", "psnr_to_input_db")


@dataclass(frozen=True)
class Candidate:
    """A model file, or a classical method at a setting; neither: the noisy input.

    Attributes:
        name: what tables call it.
        model: the file.
        method, setting: a name in `quietframe_bench.classical.METHODS` and its parameters.
        given_sigma_255: the noise level passed to a model; None: the runtime estimates it for every frame.
        every: it is judged on every so many samples.
    """

    name: str
    model: Path | None = None
    method: str | None = None
    setting: Mapping[str, float] = field(default_factory=dict)
    given_sigma_255: float | None = None
    every: int = 1

    @property
    def origin(self) -> tuple[Path | None, str | None]:
        """Candidates of one origin are judged by one process."""
        return self.model, self.method

    @property
    def subject(self) -> dict[str, Any]:
        """What `open_candidate` takes, in JSON's values."""
        return {"model": self.model and str(self.model), "method": self.method, "setting": dict(self.setting)}


NOISY_INPUT = Candidate("noisy input")


class Condition(NamedTuple):
    """The noise that is added: its level in 8-bit levels, and the camera format that delivers it, if any.

    Without a level the samples have noise of their own.
    """

    sigma_255: float | None = None
    format: str | None = None


class QualityRow(ModelRow, kw_only=True, tag="quality"):
    """One candidate under one condition.

    Attributes:
        source: what it was judged on: `images`, `pairs`, `video`, or `formats` for images in the formats of cameras.
        candidate, method, setting, given_sigma_255, every: see `Candidate`.
        sigma_255, format: see `Condition`.
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
        return self.candidate == NOISY_INPUT.name

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


@dataclass
class Entry:
    """A candidate, and the row of its figures."""

    candidate: Candidate
    row: QualityRow


class Choice(NamedTuple):
    """How the best of several candidates was chosen under one condition.

    Attributes:
        condition: see `Condition`.
        best: the candidate with the greatest mean PSNR; of equals, the first.
        tried: each one's setting, or the level passed to it, with its mean PSNR in dB, best first.
        samples: on how many samples.
        error: why nothing could be judged; `best` is then the first one.
    """

    condition: Condition
    best: Candidate
    tried: Sequence[tuple[Mapping[str, float], float]]
    samples: int
    error: str | None = None

    def as_record(self) -> dict[str, Any]:
        """Return it for the details of a row."""
        of = {"method": self.best.method, "file": self.best.model and self.best.model.name}
        return {**of, **self.condition._asdict(), "tried": self.tried, "samples": self.samples, "error": self.error}


def means(of: Any) -> dict[str, float]:
    """Return the mean of each figure over those that have it."""
    found: dict[str, list[float]] = {}
    for figures in of:
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def new_entry(run: Run, source: str, candidate: Candidate, condition: Condition, error: str | None = None) -> Entry:
    """Make the row of a candidate; of a model whose file could not be made, without it."""
    model = candidate.model if candidate.model and candidate.model.is_file() else None
    about = {name: getattr(candidate, name) for name in ("method", "given_sigma_255", "every")}
    about |= {"candidate": candidate.name, "setting": dict(candidate.setting), **condition._asdict()}
    return Entry(candidate, run.row(QualityRow, model, source=source, error=error, **about))


def judge_entries(
    entries: Sequence[Entry],
    samples: Sequence[Sample],
    on_step: OnStep = ignore_step,
    *,
    measures: Sequence[str] = ("psnr_db", "ssim"),
) -> None:
    """Fill in the rows of candidates, those of each origin in a process of their own.

    Args:
        entries: those with an error are left alone.
        samples: to judge with.
        on_step: called with (what, step, steps) as it goes on.
        measures: those wanted of `psnr_db`, `ssim`, `flicker_255` and `psnr_to_input_db`.
    """
    good = [entry for entry in entries if entry.row.error is None]
    step = counted(on_step, sum(len(samples[:: entry.candidate.every]) for entry in good))
    for origin in dict.fromkeys(entry.candidate.origin for entry in good):
        alike = [entry for entry in good if entry.candidate.origin == origin]
        with Child() as child:
            if origin[0]:
                try:
                    facts = describe_denoiser(child, origin[0])
                except ChildError as exc:
                    facts = {"error": str(exc)}
                for entry in alike:
                    set_fields(entry.row, facts)
            for condition in dict.fromkeys(entry.row.condition for entry in alike):
                for place, sample in enumerate(samples):
                    for entry in alike:
                        if entry.row.condition == condition and place % entry.candidate.every == 0:
                            step(f"{entry.candidate.name} on {sample.name}")
                            _judge(child, entry, sample, measures)
    for entry in good:
        entry.row.finish()


def _judge(child: Child, entry: Entry, sample: Sample, measures: Sequence[str]) -> None:
    candidate, row = entry.candidate, entry.row
    if row.error:
        return
    what = {"sample": msgspec.to_builtins(sample, enc_hook=str), "condition": row.condition, "measures": measures}
    try:
        frames = child.call(
            "judging:judge", subject=candidate.subject, given_sigma_255=candidate.given_sigma_255, **what
        )
    except ChildError as exc:
        row.failed_samples[sample.name] = str(exc)
        return
    row.by_sample[sample.name] = means(frames.values())
    if len(frames) > 1:
        row.by_frame[sample.name] = frames


def choose(
    run: Run,
    alternatives: Sequence[tuple[Sequence[Candidate], Condition]],
    samples: Sequence[Sample],
    on_step: OnStep = ignore_step,
) -> list[Choice]:
    """Judge each group of candidates under its condition, and rank them by mean PSNR."""
    groups = [[new_entry(run, "", one, condition) for one in group] for group, condition in alternatives]
    judge_entries([entry for group in groups for entry in group], samples, on_step, measures=("psnr_db",))
    return [_choose(entries) for entries in groups]


def _choose(entries: Sequence[Entry]) -> Choice:
    ranked = sorted((one for one in entries if one.row.psnr_db is not None), key=lambda one: -(one.row.psnr_db or 0))
    failed = [why for one in entries for why in (one.row.error, *one.row.failed_samples.values()) if why]
    tried = [(_setting(one.candidate), one.row.psnr_db or 0.0) for one in ranked]
    best = (ranked or entries)[0]
    error = None if ranked else next(iter(failed), "nothing to choose on")
    return Choice(best.row.condition, best.candidate, tried, len(best.row.by_sample), error)


def _setting(candidate: Candidate) -> Mapping[str, float]:
    return candidate.setting or {"sigma_255": candidate.given_sigma_255 or 0.0}


# In the measuring process


def open_candidate(
    *, model: str | None, method: str | None, setting: Mapping[str, float], threads: int | None = None
) -> Any:
    """Make a candidate ready to be called with frames: of `Candidate.subject` and CPU threads (None: every core).

    Raises QuietFrameError where it cannot be used.
    """
    if method is not None:
        from quietframe.cpu import physical_cores
        from quietframe_bench.classical import ClassicalDenoiser

        return ClassicalDenoiser(method, setting, threads=threads or physical_cores())
    from quietframe import Denoiser

    return Denoiser(str(model), threads=threads)


def judge(
    *,
    subject: dict[str, Any],
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

    found: dict[str, dict[str, float]] = {}
    is_input = subject["model"] is subject["method"] is None
    before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
    for index, path in enumerate(map(Path, sample["clean"])):
        try:
            seed = [*sample["seed"], *([index] if len(sample["clean"]) > 1 else [])]
            clean, noisy = _frames(str(path), sample["noisy"], tuple(sample["crop"]), tuple(condition), tuple(seed))
            result = noisy
            if not is_input:
                known = {"sigma_255": given_sigma_255} if subject["model"] else {}
                result = _open_again(json.dumps(subject))(noisy, **known)
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
            if len(sample["clean"]) == 1:
                raise
            raise QuietFrameError(f"{path.name}: {str(exc).removeprefix(f'{path}: ')}") from exc
        found[path.name] = figures
        before = clean, result
    return found


@lru_cache(maxsize=1)
def _open_again(subject_json: str) -> Callable[..., NDArray[np.uint8]]:
    denoise: Callable[..., NDArray[np.uint8]] = open_candidate(**json.loads(subject_json))
    return denoise


@lru_cache(maxsize=2)
def _frames(
    path: str, noisy: str | None, crop: tuple[int, int], condition: tuple[float | None, str | None], seed: Sequence[int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return (clean, noisy) frames. Nobody changes them: many settings are judged on one."""
    from quietframe.images import read_image

    image = read_image(path)
    clean = np.ascontiguousarray(image.bgr[crop[0] :, crop[1] :]) if condition[1] else image.pixels
    if condition[0] is None:
        return clean, read_image(noisy or path).pixels
    return clean, add_noise(clean, Condition(*condition), seed)


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

"""Candidates: denoisers that are judged side by side, and how the measuring process judges one on one image."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from quietframe_bench.plan import OnStep, describe_denoiser, find_images, ignore_step
from quietframe_bench.process import Child, ChildError
from quietframe_bench.rows import ModelRow, Run, named_failure, set_fields, utc_now


@dataclass(frozen=True)
class Candidate:
    """A model file, or a classical method at a setting; neither: the noisy input.

    Attributes:
        name: what tables call it.
        model: the file.
        method, setting: a name in `quietframe_bench.classical.METHODS` and its parameters.
        given_sigma_255: the noise level passed to a model; None: the runtime estimates it for every frame.
        every: it is judged on every so many images.
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
    def is_noisy_input(self) -> bool:
        """Whether this is the noisy input itself."""
        return self.model is None and self.method is None

    def request(self) -> dict[str, Any]:
        """Return what `open_candidate` takes, in JSON's values."""
        model = None if self.model is None else str(self.model)
        return {"model": model, "method": self.method, "setting": dict(self.setting)}


NOISY_INPUT = Candidate("noisy input")

LEVEL_KNOWN = ", level known"
"""Ends the name of a candidate that knows the true noise level."""


@dataclass(frozen=True)
class TestImage:
    """An image to judge with.

    Attributes:
        name: what results call it.
        index: its number, from which its noise is drawn.
        clean: the file.
        noisy: the file of the same with a camera's noise; None: noise is added.
    """

    __test__ = False  # no test of pytest's

    name: str
    index: int
    clean: Path
    noisy: Path | None = None


@dataclass(frozen=True)
class ImageSettings:
    """How to judge on clean images.

    Attributes:
        folder: of clean images; subfolders are searched too.
        sigmas_255: levels of the white Gaussian noise, in 8-bit levels.
        seed: of the noise; image number i at level σ draws from `numpy.random.default_rng([seed, i, σ · 1000])`.
        limit: use only the first so many images, sorted by path.
    """

    folder: Path
    sigmas_255: tuple[float, ...] = (15.0, 25.0, 50.0)
    seed: int = 0
    limit: int | None = None

    def images(self) -> list[TestImage]:
        """Find the clean images. Raises SourceError if there are none."""
        found = find_images(self.folder, self.limit)
        return [TestImage(str(path.relative_to(self.folder)), index, path) for index, path in enumerate(found)]


class QualityRow(ModelRow, kw_only=True, tag="quality"):
    """One candidate at one noise level.

    Attributes:
        candidate: what tables call it.
        sigma_255: the level of the noise that is added; None: the images have their own.
        method, setting, given_sigma_255, every: see `Candidate`.
        psnr_db, ssim, estimated_sigma_255: means over the images.
        total_p50_ms: the median time of a frame, where it was timed.
        by_image: each image's figures: `psnr_db`, `ssim`, and for the noisy input `estimated_sigma_255`.
        failed_images: images that could not be judged, and why.
    """

    candidate: str
    sigma_255: float | None = None
    method: str | None = None
    setting: dict[str, float] = msgspec.field(default_factory=dict)
    given_sigma_255: float | None = None
    every: int = 1
    psnr_db: float | None = None
    ssim: float | None = None
    estimated_sigma_255: float | None = None
    total_p50_ms: float | None = None
    by_image: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    failed_images: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def is_noisy_input(self) -> bool:
        """Whether this is the noisy input itself."""
        return self.candidate == NOISY_INPUT.name

    @property
    def images(self) -> int:
        """On how many images it was judged."""
        return len(self.by_image)

    def mean(self, figure: str, among: Sequence[str] | frozenset[str] | None = None) -> float | None:
        """Return the mean over the images (of those named in `among`, when given), or None without any."""
        chosen = [figures for name, figures in self.by_image.items() if among is None or name in among]
        values = [figures[figure] for figures in chosen if figure in figures]
        return float(np.mean(values)) if values else None

    def finish(self) -> None:
        """Derive the means."""
        self.finished_utc = utc_now()
        for figure in ("psnr_db", "ssim", "estimated_sigma_255"):
            setattr(self, figure, self.mean(figure))

    def failures(self) -> list[str]:
        """Say what failed; an image's own failure once, whoever was judged on it."""
        if self.error:
            return [named_failure(self.candidate, self.error)]
        return [named_failure(image, why) for image, why in self.failed_images.items()]


@dataclass
class Entry:
    """A candidate, and the row of its figures."""

    candidate: Candidate
    row: Any  # QualityRow or a subclass


def new_entry(
    run: Run, candidate: Candidate, sigma_255: float | None, row_type: type[QualityRow] = QualityRow, **fields: Any
) -> Entry:
    """Make the row of a candidate; of a model whose file could not be made, without it."""
    model = candidate.model if candidate.model and candidate.model.is_file() else None
    row = run.row(
        row_type,
        model,
        candidate=candidate.name,
        sigma_255=sigma_255,
        method=candidate.method,
        setting=dict(candidate.setting),
        given_sigma_255=candidate.given_sigma_255,
        every=candidate.every,
        **fields,
    )
    return Entry(candidate, row)


def judge_entries(
    entries: Sequence[Entry],
    images: Sequence[TestImage],
    seed: int = 0,
    on_step: OnStep = ignore_step,
    *,
    measures: Sequence[str] = ("psnr_db", "ssim"),
) -> None:
    """Fill in the rows of candidates, those of each origin in a process of their own.

    Args:
        entries: with candidate and level; those with an error are left alone.
        images: to judge with.
        seed: of the noise, where it is added; image i at level σ draws from `default_rng([seed, i, σ · 1000])`.
        on_step: called with (what, step, steps) as it goes on.
        measures: those wanted of `psnr_db` and `ssim`.
    """
    good = [entry for entry in entries if entry.row.error is None]
    steps = sum(len(images[:: entry.candidate.every]) for entry in good)
    step = 0
    for origin in dict.fromkeys(entry.candidate.origin for entry in good):
        alike = [entry for entry in good if entry.candidate.origin == origin]
        with Child() as child:
            _describe(child, alike)
            for place, image in enumerate(images):
                for entry in alike:
                    if place % entry.candidate.every == 0:
                        on_step(f"{entry.candidate.name} on {image.name}", step, steps)
                        step += 1
                        _judge(child, entry, image, seed, measures)
    for entry in good:
        entry.row.finish()


def _describe(child: Child, entries: Sequence[Entry]) -> None:
    """Note in rows of one model its metadata, or why it cannot be judged. Other rows stay as they are."""
    model = entries[0].candidate.model
    if model is None:
        return
    try:
        facts = describe_denoiser(child, model)
    except ChildError as exc:
        facts = {"error": str(exc)}
    for entry in entries:
        set_fields(entry.row, facts)


def _judge(child: Child, entry: Entry, image: TestImage, seed: int, measures: Sequence[str]) -> None:
    row = entry.row
    if row.error:
        return
    noise = None
    if row.sigma_255 is not None:
        noise = {"sigma_255": row.sigma_255, "seed": [seed, image.index, round(row.sigma_255 * 1000)]}
    try:
        row.by_image[image.name] = child.call(
            "candidates:judge",
            candidate=entry.candidate.request(),
            given_sigma_255=entry.candidate.given_sigma_255,
            clean=image.clean,
            noisy=image.noisy,
            noise=noise,
            measures=measures,
        )
    except ChildError as exc:
        row.failed_images[image.name] = str(exc)


# In the measuring process


def open_candidate(
    *, model: str | None, method: str | None, setting: Mapping[str, float], threads: int | None = None
) -> Callable[..., NDArray[np.uint8]]:
    """Make a candidate ready to be called with frames: of `Candidate.request` and CPU threads (None: every core).

    Raises QuietFrameError where it cannot be used.
    """
    if method is not None:
        from quietframe.cpu import physical_cores
        from quietframe_bench.classical import ClassicalDenoiser

        return ClassicalDenoiser(method, setting, threads=threads or physical_cores())
    assert model is not None
    from quietframe import Denoiser

    return Denoiser(model, threads=threads)


def judge(
    *,
    candidate: dict[str, Any],
    given_sigma_255: float | None,
    clean: str,
    noisy: str | None,
    noise: dict[str, Any] | None,
    measures: Sequence[str],
) -> dict[str, float]:
    """Compare with the clean image what a candidate makes of the noisy one: a file, or the clean one and noise.

    The noisy input is compared itself, and the level that is estimated in it comes along.
    """
    from quietframe.noise.estimate import estimate_noise
    from quietframe.quality import psnr_db, ssim

    reference = _read(clean)
    frame = _add_noise(clean, noise["sigma_255"], *noise["seed"]) if noise else _read(noisy or clean)
    is_input = candidate["model"] is None and candidate["method"] is None
    result = frame
    if not is_input:
        known = {} if candidate["model"] is None else {"sigma_255": given_sigma_255}
        result = _open_again(json.dumps(candidate))(frame, **known)
    compute = {"psnr_db": psnr_db, "ssim": ssim}
    figures = {measure: compute[measure](reference, result) for measure in measures}
    return figures | {"estimated_sigma_255": estimate_noise(frame)} if is_input else figures


@lru_cache(maxsize=1)
def _open_again(candidate_json: str) -> Callable[..., NDArray[np.uint8]]:
    return open_candidate(**json.loads(candidate_json))


@lru_cache(maxsize=8)
def _read(path: str) -> NDArray[np.uint8]:
    """Read an image's pixels. Nobody changes them: many settings are judged on one image."""
    from quietframe.images import read_image

    return read_image(path).pixels


@lru_cache(maxsize=8)
def _add_noise(path: str, sigma_255: float, *seed: int) -> NDArray[np.uint8]:
    from quietframe.noise import add_gaussian

    return add_gaussian(_read(path), sigma_255, np.random.default_rng(list(seed)))

"""Digit models behind one another, and against noise of every level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quietframe.noise import to_uint8
from quietframe.quality import mean_psnr_db
from quietframe_bench.results.collect import Entry, by_noise, noise_words
from quietframe_bench.results.measured import CHAMPION, SIGMAS, Measured, Reading, Robustness, confuse
from quietframe_bench.results.models import FLOAT, INT8, Model, fits_8bit, opened, tried

if TYPE_CHECKING:
    from quietframe_train.corruption import ImageCorruption
    from quietframe_train.data.images import ImageSet

ROBUSTNESS_IMAGES = 1000
PRECISIONS: Mapping[str, tuple[str, ...]] = {"float": FLOAT, "int8": INT8}

OnStep = Callable[[str], None]
Images = Mapping[str | None, NDArray[np.uint8]]
"""What denoisers made of noisy images, by their name; under None the noisy images, where 8 bits hold them."""


class Digits:
    """The digit models of a page on one test set.

    Args:
        test: its images.
        classes: their names.
        entries: the runs; one that denoises and classifies is read alone.
        measured: takes the results and the failures.
        on_step: told what is measured next.
    """

    def __init__(
        self, test: ImageSet, classes: Sequence[str], entries: Sequence[Entry], measured: Measured, on_step: OnStep
    ) -> None:
        every = list({entry.name: entry for entry in entries}.values())
        self._test = test
        self._classes = classes
        self._denoisers = [entry for entry in every if not entry.does("classify")]
        self._classifiers = [entry for entry in every if entry.does("classify")]
        self._measured = measured
        self._on_step = on_step

    def measure(self) -> None:
        """Readings of float and int8 files, robustness of the float ones, a confusion matrix."""
        for precision, targets in PRECISIONS.items():
            models = {
                entry.name: model
                for entry in (*self._denoisers, *self._classifiers)
                if (model := opened(entry, targets, self._measured.failures))
            }
            self._read(models, precision)
            if precision == "float":
                self._measured.robustness = self._robustness(models)
        self._confuse()

    def _read(self, models: Mapping[str, Model], precision: str) -> None:
        """Every classifier on every noise: alone, and behind each denoiser that is measured with that noise."""
        from quietframe_train.evaluate import noisy_images

        noises: dict[str, ImageCorruption] = {}
        for entry in (*self._classifiers, *self._denoisers):
            noises |= {noise.key: noise for noise in entry.run.recipe.measured_with}
        for key, noise in noises.items():
            those = {e.name: models[e.name] for e in self._denoisers if e.name in models and key in by_noise(e.figures)}
            images = self._denoised(those, noisy_images(self._test, noise), f"{key} ({precision})")
            for entry in self._classifiers:
                composed = entry.does("denoise")
                if entry.name not in models or (composed and key not in by_noise(entry.figures)):
                    continue
                model = models[entry.name]
                for denoiser, frames in images.items():
                    if composed and denoiser:
                        continue
                    taken = self._taken(model, frames)
                    if taken is not None:
                        files = (models[denoiser].origin, model.origin) if denoiser else (model.origin,)
                        share = float(np.mean(taken == self._test.labels))
                        reading = Reading(key, denoiser, entry.name, precision, files, taken, share)
                        self._measured.readings.append(reading)

    def _robustness(self, models: Mapping[str, Model]) -> Robustness | None:
        from quietframe_train.corruption import NormalNoise
        from quietframe_train.evaluate import noisy_images

        denoisers = {entry.name: models[entry.name] for entry in self._denoisers if entry.name in models}
        if not denoisers:
            return None
        readers = [models[e.name] for e in self._classifiers if e.name in models and not e.does("denoise")]
        few = self._test.chosen(slice(ROBUSTNESS_IMAGES))
        psnr: dict[str | None, list[float]] = {name: [] for name in (None, *denoisers)}
        accuracy: dict[str | None, list[float]] = {name: [] for name in (None, *denoisers)}
        for sigma in SIGMAS:
            noisy = noisy_images(few, NormalNoise(mean=0, sigma=sigma))
            images = self._denoised(denoisers, noisy, f"sigma {sigma:g}")
            for name, psnrs in psnr.items():
                frames = images.get(name)
                taken = None if frames is None or not readers else self._taken(readers[0], frames)
                accuracy[name].append(np.nan if taken is None else float(np.mean(taken == few.labels)))
                if frames is None or (name is None and sigma == 0):  # clean digits beside themselves tell nothing
                    psnrs.append(np.nan)
                else:
                    psnrs.append(mean_psnr_db(zip(few.images, frames, strict=True)))
        files = {name: model.origin for name, model in denoisers.items()}
        return Robustness(len(few), readers[0].name if readers else None, files, psnr, accuracy)

    def _confuse(self) -> None:
        """The first classifier on the first noise that it is measured with: alone and behind the champion, if there
        is one, or else the denoiser that helps it most.
        """
        for entry in self._classifiers:
            words = {noise.key: noise_words(noise) for noise in entry.run.recipe.measured_with if noise.key != "clean"}
            readings = [
                reading
                for reading in self._measured.readings
                if (reading.classifier, reading.precision) == (entry.name, "float") and reading.noise in words
            ]
            alone = [reading for reading in readings if reading.denoiser is None][:1]
            if entry.does("denoise") or not alone:
                continue
            behind = [reading for reading in readings if reading.denoiser and reading.noise == alone[0].noise]
            behind.sort(key=lambda reading: (reading.denoiser != CHAMPION, -reading.accuracy))
            self._measured.confusions["digits"] = [
                confuse(
                    f"{entry.name}, {words[reading.noise]}, "
                    + (f"behind {reading.denoiser}" if reading.denoiser else "alone"),
                    self._classes,
                    self._test.labels,
                    reading.taken,
                )
                for reading in (*alone, *behind[:1])
            ]
            return

    def _denoised(self, models: Mapping[str, Model], noisy: NDArray[np.float32], noise: str) -> Images:
        images: dict[str | None, NDArray[np.uint8]] = {None: to_uint8(255 * noisy)} if fits_8bit(noisy) else {}
        for name, model in models.items():
            self._on_step(f"{name}: {noise}")
            frames = tried(model, model.denoise, noisy, self._measured.failures)
            if frames is not None:
                images[name] = frames
        return images

    def _taken(self, model: Model, frames: NDArray[np.uint8]) -> NDArray[np.int64] | None:
        return tried(model, model.classify, frames, self._measured.failures)

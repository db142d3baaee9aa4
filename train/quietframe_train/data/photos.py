"""Photographs to cut noisy patches from: what camera denoisers train on."""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms, Metric, Spatial, TensorSpec
from quietframe.errors import SourceError
from quietframe.images import IMAGE_SUFFIXES, read_image
from quietframe.noise import MAX_SIGMA_255, add_gaussian
from quietframe.noise.formats import FORMATS
from quietframe_train.camera_noise import LEVEL_STRIDE, VALIDATION_SIGMAS_255, CameraNoise, validation_patches
from quietframe_train.data.base import Batch, Batches, Data, NoisyFrame, Sample, Splits
from quietframe_train.own_camera import OwnCameraNoise
from quietframe_train.signals import check_interrupted

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from quietframe_train.recipe import Phase, Recipe

VALIDATION_SIDE = 192
CALIBRATION_PATCHES, CALIBRATION_SIDE = 128, 256
HELD_OUT_FRAMES = 64

_MIN_SIDE = 96  # of a photograph, in pixels
_MANIFEST, _LICENCE = "manifest.csv", "licence"
_LOGARITHMIC = "log_mse_and_means"  # counts a tenth less error the same at every noise level
_ERROR_POWER = 0.55
_MIN_NOISE_255 = 2.0  # frames without noise have an error, too
_USUAL_ERROR = 5.2
_SCALE = np.float32(1 / 255)


@dataclass(frozen=True)
class PhotoBatches(Batches):
    """So many batches an epoch that `data` draws from photographs.

    Attributes:
        batch: patches in a batch.
        steps: batches in an epoch.
        seed: with epoch and step decides what is drawn.
        weighted: whether errors count by the noise that they were under, as `loss_weights` says.
    """

    data: PhotoData
    photos: Sequence[NDArray[np.uint8]]
    noise: Any
    batch: int
    steps: int
    seed: tuple[int, ...]
    weighted: bool = True

    def __len__(self) -> int:
        return self.steps

    def draw(self, epoch: int, step: int) -> Batch:
        rng = np.random.default_rng((*self.seed, epoch, step))
        inputs, targets = self.data.draw(self.photos, self.noise, self.batch, rng)
        return inputs, targets, loss_weights(255 * (inputs["image"] - targets)) if self.weighted else None


@dataclass(frozen=True)
class PhotoData(Data):
    """A folder of photographs, from which square patches are cut, flipped and turned.

    Attributes:
        patch: side of a patch in pixels.
        validation_list: name of a list of file hashes in this package; the photographs in it only validate.
        validation_share: where a folder holds none of them, share of its photographs (by content hash) that do.
    """

    patch: int = 64
    validation_list: str = "photos_validation.txt"
    validation_share: float = 0.04

    kind: ClassVar[str] = "photos"
    one_shape: ClassVar[bool] = True
    noise_type: ClassVar[type] = CameraNoise
    frames_from: ClassVar[str] = "training photographs"

    def source(self, task: str) -> str:
        return "a folder of photographs"

    def load(
        self, path: str | Path | None, recipe: Recipe, *, seed: int = 0, limit: int | None = None, fold: int = 0
    ) -> Splits:
        patches = [cast(PhotoData, phase.data or self).patch for phase in recipe.phases]
        return load_photos(
            self.required(path, recipe),
            validation_list=self.validation_list,
            validation_share=self.validation_share,
            limit=limit,
            smallest=max(_MIN_SIDE, *patches),
        )

    def batches(self, recipe: Recipe, phase: Phase, splits: Splits, *, seed: int) -> Batches:
        steps = phase.steps_per_epoch or math.ceil(len(splits.training) / phase.batch)
        weighted = phase.loss != _LOGARITHMIC
        return PhotoBatches(self, splits.training, recipe.noise, phase.batch, steps, (seed, phase.key), weighted)

    def draw(
        self, photos: Sequence[NDArray[np.uint8]], noise: Any, count: int, rng: np.random.Generator
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Draw a batch: the model's inputs by name, and the targets; see `camera_batch`."""
        return camera_batch(*noise.draw(photos, count, self.patch, rng))

    def validation(self, recipe: Recipe, splits: Splits, *, seed: int) -> Mapping[str, Batch]:
        """Take the middles of photographs at several noise levels, blind, by format."""
        photos = splits.validation
        side = min(VALIDATION_SIDE, smallest_side(photos)) // 16 * 16
        if isinstance(recipe.noise, OwnCameraNoise):
            return {"own camera": (*camera_batch(*recipe.noise.validation(photos, side, seed=seed)), None)}
        drawn = validation_patches(photos, side, seed=seed)
        turns = {name: slice(index, None, len(FORMATS)) for index, name in enumerate(FORMATS)}
        return {
            name: (*camera_batch(drawn.clean[turn], drawn.noisy[turn], drawn.sigma_255[turn]), None)
            for name, turn in turns.items()
            if turn.start < len(drawn.clean)
        }

    def evaluate(self, model: keras.Model, recipe: Recipe, splits: Splits, terms: DataTerms) -> list[Metric]:
        from quietframe_train.evaluate import measure_photos

        return measure_photos(model, recipe, splits.validation, f"{terms.name} validation")

    def samples(self, model: keras.Model, recipe: Recipe, splits: Splits) -> Figure:
        from quietframe_train.figures import photos_figure

        return photos_figure(model, recipe, splits.validation)

    def calibration(
        self, recipe: Recipe, splits: Splits, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[NoisyFrame]:
        side = min(CALIBRATION_SIDE, smallest_side(splits.training))
        drawn = cast(CameraNoise, recipe.noise).draw(splits.training, CALIBRATION_PATCHES, side, rng)
        return [NoisyFrame(*each) for each in zip(drawn.noisy, drawn.sigma_255, strict=True)]

    def replace_training(self, splits: Splits, folder: str | Path) -> Splits:
        found = load_photos(folder, validation_share=0.5, smallest=32)
        return replace(splits, training=[*found.validation, *found.training])

    def held_out(
        self, recipe: Recipe, splits: Splits, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[Sample]:
        """Take every validation photograph whole at each noise level, as often as it takes for enough frames."""
        rounds = -(-HELD_OUT_FRAMES // (len(splits.validation) * len(VALIDATION_SIGMAS_255)))
        return [
            Sample(frame=add_gaussian(photo, sigma_255, rng), clean=photo, group=f"sigma {sigma_255:g}")
            for sigma_255 in VALIDATION_SIGMAS_255
            for photo in [*splits.validation] * rounds
        ]

    def card_fields(self, recipe: Recipe, model: keras.Model) -> Mapping[str, Any]:
        from quietframe_train.models import GEOMETRIES

        multiple, halo = GEOMETRIES[recipe.model.builder](**recipe.model.options)
        sigma = TensorSpec("sigma", "sigma", "NHWC", 1, (0.0, MAX_SIGMA_255 / 255), stride=LEVEL_STRIDE)
        return {
            "inputs": (TensorSpec("image", "image", "NHWC", 3, (0.0, 1.0), "BGR"), sigma),
            "spatial": Spatial("any", multiple=multiple, halo=halo),
            "conditioning": "sigma",
        }


def camera_batch(
    clean: NDArray[np.uint8], noisy: NDArray[np.uint8], sigma_255: NDArray[np.float32]
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Scale frames and levels as camera models take them.

    Inputs: `image` (batch, side, side, 3) float32 in [0, 1], and `sigma` (batch, side / 4, side / 4, 1), the noise
    level / 255. Targets: the clean frames, as `image`.
    """
    sigma = filled_maps(sigma_255 * _SCALE, clean.shape[1] // LEVEL_STRIDE)
    return {"image": noisy * _SCALE, "sigma": sigma}, clean * _SCALE


def filled_maps(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Fill a square map with each of the values. values: (batch,). Returns (batch, side, side, 1)."""
    return np.broadcast_to(values.reshape(-1, 1, 1, 1), (len(values), side, side, 1))


def loss_weights(noise_255: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weigh the errors of patches with such noise in training, about 1 on average.

    PSNR is a logarithm, an absolute error is not: where noise was strong, much error remains, and there it is what a
    training looks at. Errors that remain grow about as the 0.55th power of the noise.

    noise_255: (batch, side, side, channels), in 8-bit levels. Returns (batch,).
    """
    deviation_255 = np.std(noise_255, axis=(1, 2, 3))
    return (_USUAL_ERROR / (_MIN_NOISE_255 + deviation_255) ** _ERROR_POWER).astype(np.float32)


def image_files(folder: Path, what: str) -> list[Path]:
    """List the image files below a folder. Raises SourceError if there is no such folder of `what`."""
    if not folder.is_dir():
        wrong = "is a file, expected a folder" if folder.exists() else "no such folder"
        raise SourceError(f"{folder}: {wrong} of {what}")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def read_each(paths: Sequence[Path], unreadable: list[str]) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
    """Read images as 8-bit BGR; those that cannot be read are skipped, with a line in `unreadable`."""
    for path in paths:
        check_interrupted()
        try:
            yield path, read_image(path, to_8bit=True).bgr
        except SourceError as exc:
            unreadable.append(str(exc))


def load_photos(
    folder: str | Path,
    *,
    validation_share: float,
    validation_list: str | None = None,
    limit: int | None = None,
    smallest: int = 96,
) -> Splits:
    """Read every image below a folder and set some aside for validation.

    The split goes by a hash of each file's content, so that identical files fall on the same side and it does not
    depend on names or order.

    Args:
        folder: searched with its subfolders; gray and 16-bit images and alpha are brought to 8-bit BGR. A column
            `licence` of a `manifest.csv` in it gives the data's terms.
        validation_share: share of the images that only validate, in (0, 1); at least one does.
        validation_list: name of a list of file hashes in this package: those in the folder validate, not a share.
        limit: use only so many images (in order of path).
        smallest: images with a side below this, in pixels, are skipped and named.

    Raises SourceError: no such folder, or fewer than two readable images in it.
    """
    folder, photos, unreadable = Path(folder), list[tuple[str, NDArray[np.uint8]]](), list[str]()
    for path, photo in read_each(image_files(folder, "photographs")[:limit], unreadable):
        if min(photo.shape[:2]) < smallest:
            unreadable.append(f"{path}: {photo.shape[1]}x{photo.shape[0]} is smaller than {smallest} pixels")
        else:
            photos.append((hashlib.sha256(path.read_bytes()).hexdigest(), photo))
    digests = sorted({digest for digest, _ in photos})
    if len(digests) < 2:
        raise SourceError(
            f"{folder}: {len(digests)} usable images ({len(unreadable)} skipped), at least 2 different ones are needed"
        )
    held_out = _listed(validation_list) & set(digests)
    if not held_out or len(held_out) == len(digests):
        held_out = set(digests[: max(1, round(validation_share * len(digests)))])
    training = [photo for digest, photo in photos if digest not in held_out]
    validation = [photo for digest, photo in photos if digest in held_out]
    return Splits(training, validation, (), terms=_licences(folder), unreadable=unreadable)


def _listed(name: str | None) -> set[str]:
    """Read the file hashes of a list in this package; lines that begin with # say what it is."""
    if name is None:
        return set()
    lines = resources.files("quietframe_train.data").joinpath(name).read_text(encoding="ascii").splitlines()
    return {line for line in lines if not line.startswith("#")}


def _licences(folder: Path) -> DataTerms | None:
    """Count how many files have which licence, by the folder's manifest; None without one."""
    try:
        with (folder / _MANIFEST).open(newline="", encoding="utf-8") as file:
            counts = Counter(row[_LICENCE] for row in csv.DictReader(file))
    except (OSError, KeyError, ValueError):
        return None
    return DataTerms(folder.resolve().name, ", ".join(f"{name} ({count})" for name, count in counts.most_common()))


def smallest_side(photos: Sequence[NDArray[np.uint8]]) -> int:
    """Find the smallest height or width of all photographs, in pixels."""
    return min(min(photo.shape[:2]) for photo in photos)

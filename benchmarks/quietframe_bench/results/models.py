"""Trained models ready to run: an exported file behind the runtime, or the Keras model where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import QuietFrameError, SourceError, UsageError
from quietframe.noise import to_uint8

if TYPE_CHECKING:
    from quietframe_bench.results.collect import Entry

FLOAT = ("tflite-fp32", "onnx-fp32")
INT8 = ("tflite-int8",)

Given = TypeVar("Given")
Result = TypeVar("Result")


class Model(Protocol):
    """A model of images of one size.

    Attributes:
        name: of the run.
        origin: what runs: a file's name, or `NAME in Keras`.
    """

    name: str
    origin: str

    def denoise(self, images: NDArray[np.float32]) -> NDArray[np.uint8] | None:
        """(N, H, W, C) float32, noisy; what lies in [0, 1] is met in 8 bits. Returns (N, H, W, C) uint8; None if
        other values do not fit the model.
        """
        ...

    def classify(self, frames: NDArray[np.uint8]) -> NDArray[np.int64]:
        """(N, H, W, C) uint8. Returns the index of each one's class, (N,)."""
        ...


class FileModel:
    """An exported file, run one picture at a time by the runtime, as on a device. Raises ModelLoadError."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.origin = path.name
        self._path = path

    def denoise(self, images: NDArray[np.float32]) -> NDArray[np.uint8] | None:
        """See `Model`."""
        from quietframe import Denoiser

        denoiser = Denoiser(self._path, threads=1)
        if fits_8bit(images):
            run: Any = denoiser
            frames: NDArray[Any] = to_uint8(255 * images)
        elif (run := _unclipped(denoiser)) is None:
            return None
        else:
            frames = images
        return np.stack([run(_plane(frame)) for frame in frames]).reshape(images.shape)

    def classify(self, frames: NDArray[np.uint8]) -> NDArray[np.int64]:
        """See `Model`."""
        from quietframe import Classifier

        classifier = Classifier(self._path, threads=1)
        labels = classifier.card.labels
        return np.asarray([labels.index(classifier(_plane(frame)).label) for frame in frames], np.int64)


class KerasModel:
    """The Keras model of a run, in float32 batches. Raises SourceError if it cannot be read."""

    def __init__(self, entry: Entry) -> None:
        import keras

        import quietframe_train.models  # noqa: F401  its layers are known to Keras then

        self.name = entry.name
        self.origin = f"{entry.name} in Keras"
        self._recipe = entry.run.recipe
        path = entry.run.model_path
        try:
            self._model = keras.models.load_model(path, compile=False)
        except (OSError, ValueError, TypeError) as exc:
            raise SourceError(f"{entry.name}: {path.name}: not a Keras model that can be read") from exc

    def denoise(self, images: NDArray[np.float32]) -> NDArray[np.uint8] | None:
        """See `Model`."""
        denoised, _ = self._outputs(images)
        return None if denoised is None else to_uint8(255 * denoised)

    def classify(self, frames: NDArray[np.uint8]) -> NDArray[np.int64]:
        """See `Model`."""
        _, scores = self._outputs(frames * np.float32(1 / 255))
        assert scores is not None  # only classifiers are asked
        return scores.argmax(axis=1)

    def _outputs(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        from quietframe_train.evaluate import predict, split_outputs

        return split_outputs(self._recipe, predict(self._model, images))


def open_model(entry: Entry, targets: Sequence[str] = FLOAT) -> Model | None:
    """A run's model: the first of `targets` that was exported.

    Without one: for `FLOAT` the int8 file, or Keras where nothing was exported; for other targets None.
    Raises UsageError if there is nothing to run, SourceError if the Keras model cannot be read.
    """
    order = targets if targets != FLOAT else (*FLOAT, *INT8)
    paths = {file.target: file.path for file in entry.files if file.path}
    for target in order:
        if path := paths.get(target):
            return FileModel(entry.name, path)
    if targets != FLOAT:
        return None
    if not entry.run.model_path.is_file():
        raise UsageError(f"{entry.name}: neither an exported file nor {entry.run.model_path.name} to run")
    return KerasModel(entry)


def opened(entry: Entry, targets: Sequence[str], failures: list[str]) -> Model | None:
    """As `open_model`; what is wrong goes into `failures`, once."""
    try:
        return open_model(entry, targets)
    except QuietFrameError as exc:
        _say(str(exc), failures)
    return None


def tried(model: Model, call: Callable[[Given], Result | None], given: Given, failures: list[str]) -> Result | None:
    """`call(given)`, a method of the model; None where it fails, and why goes into `failures`, once."""
    try:
        return call(given)
    except QuietFrameError as exc:
        _say(f"{model.name}: {exc}", failures)
    return None


def fits_8bit(images: NDArray[np.float32]) -> bool:
    """Whether all values lie in [0, 1]."""
    return float(images.min()) >= 0 and float(images.max()) <= 1


def _say(line: str, failures: list[str]) -> None:
    if line not in failures:
        failures.append(line)


def _plane(frame: NDArray[Any]) -> NDArray[Any]:
    return frame[..., 0] if frame.shape[-1] == 1 else frame


def _unclipped(denoiser: Any) -> Any:
    """A function that runs the engine on float values as they are; None if the file takes integers."""
    from quietframe.tasks.tensors import decode_image

    card, engine = denoiser.card, denoiser.engine
    given, made = card.tensor("image", "inputs"), card.tensor("image", "outputs")
    if engine.inputs[given.name].dtype.kind != "f" or given.layout != "NHWC" or len(card.inputs) > 1:
        return None
    low, high = given.value_range

    def run(image: NDArray[np.float32]) -> NDArray[np.uint8]:
        tensor = (low + image * (high - low)).astype(np.float32).reshape(1, *image.shape[:2], -1)
        if given.colour == "RGB":
            tensor = tensor[..., ::-1]
        results = engine.run({given.name: np.ascontiguousarray(tensor)})
        return decode_image(results[made.name], made, engine.outputs[made.name])

    return run

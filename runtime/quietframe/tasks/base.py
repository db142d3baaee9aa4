"""What denoisers and classifiers share: opening a model whose card fits the file, settings, closing, pickling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard, Spatial, Task, TensorSpec, parse_card, read_card_file
from quietframe.cpu import physical_cores
from quietframe.engines import ENGINES, Engine
from quietframe.engines.trial import try_model
from quietframe.errors import FrameError, ModelLoadError, UsageError
from quietframe.log import log
from quietframe.tasks.tensors import decode_image
from quietframe.zoo import builtin_models, find_model, is_builtin

Color = Literal["bgr", "rgb"]
Inputs = Mapping[str, NDArray[Any]]
Result = TypeVar("Result")

_MAX_THREADS = 1024
_CARD = ".card.json"
_FEW_LEVELS = 16
"""An integer tensor without a scale holds the levels themselves: so few of them would be a lost image."""


class ModelTask(Generic[Result]):
    """A model that is open for a task, and its settings, which are validated whenever they are set.

    Use it in a `with` statement, or `close` it, to free the model's memory early. Threads may share one: the model
    runs for one of them at a time. It pickles, by the model's name or path and the settings: another process opens the
    model anew.

    Attributes:
        engine: runs the model. Raises UsageError once closed.
        card: the model's card.
        color: the channel order of the caller's color frames, `bgr` or `rgb`.
    """

    _TASKS: ClassVar[tuple[Task, ...]] = ()
    _SETTINGS: ClassVar[tuple[str, ...]] = ("color",)
    card: ModelCard
    color: Color

    def __init__(
        self,
        model: str | Path | Engine,
        *,
        threads: int | None,
        card: ModelCard | str | Path | None,
        color: Color,
    ) -> None:
        engine, self.card = open_model(model, threads=threads, card=card)
        for task in self._TASKS:
            if task not in self.card.task.split("+"):
                raise ModelLoadError(
                    f"{self.card.name} cannot {task}, it is a model to {self.card.task}: see quietframe models"
                )
        self._engine: Engine | None = engine
        self._options: dict[str, Any] = {"threads": threads, "card": None if card is None else self.card}
        self._model = model
        if isinstance(model, (str, Path)):
            path = find_model(model)
            self._model = path.absolute() if path == Path(model) else str(model)
            log.debug("opened %s with %s", path, type(engine).__name__)
        self.color = color

    def __call__(self, frame: NDArray[np.uint8]) -> Result:
        """Run the model on one frame."""
        raise NotImplementedError

    def batch(self, frames: Iterable[NDArray[np.uint8]]) -> list[Result]:
        """Run the model on each of several frames, of any sizes, in order: as many at once as the file takes.

        frames: uint8 arrays as for a call, or one array of them, (N, H, W, 3), (N, H, W, 4) or (N, H, W).
        Raises FrameError if one of them is not a frame, or if `frames` itself is a single one.
        """
        shape: tuple[int, ...] = getattr(frames, "shape", ())
        if len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4)):
            raise FrameError(f"Expected several frames. Received: one of shape {shape}")
        if batch_size(self.engine, self.card) > 1:
            return self._batch(list(frames))
        return [self(frame) for frame in frames]

    def _batch(self, frames: Sequence[NDArray[np.uint8]]) -> list[Result]:
        """Run a file that takes several images at once on as many frames at a time."""
        raise NotImplementedError

    def _run_each(self, runs: Iterable[Inputs]) -> Iterator[Inputs]:
        """Run the model on inputs of one image each; see `run_each`."""
        return run_each(self.engine, runs, batch_size(self.engine, self.card))

    @property
    def engine(self) -> Engine:
        """The engine that runs the model."""
        if self._engine is None:
            raise UsageError(f"{self!r}: open the model again to use it")
        return self._engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Let the engine go, and with it the model's memory; calling this again does nothing."""
        self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        spatial = self.card.spatial
        size = "any size" if spatial.size_hw is None else f"{spatial.size_hw[1]}x{spatial.size_hw[0]} {spatial.fit}"
        settings = [f"{name}={getattr(self, name)!r}" for name in self._SETTINGS]
        if self._engine is None:
            settings.append("closed")
        return f"<{', '.join([f'{type(self).__name__} {self.card.name} {self.card.precision}', size, *settings])}>"

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, self._validated(name, value) if name in self._SETTINGS else value)

    def _image_of(self, tensor: NDArray[Any], spec: TensorSpec, dtype: Any = np.uint8) -> NDArray[Any]:
        """Decode an image of the model's results. Raises ModelLoadError, naming the model, if it holds NaN."""
        try:
            return decode_image(tensor, spec, self.engine.outputs[spec.name], dtype)
        except ModelLoadError as exc:
            raise ModelLoadError(f"{self.card.name}: {exc}") from exc

    def _validated(self, name: str, value: Any) -> Any:
        """The value to store for a setting. Raises UsageError if it is not valid."""
        if name == "color" and not (isinstance(value, str) and value in ("bgr", "rgb")):
            raise UsageError(f"Expected color to be 'bgr' or 'rgb'. Received: {value!r}")
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        if not isinstance(self._model, (str, Path)):
            raise UsageError(f"{self!r} was made from an open engine: make it from a name or a path to pickle it")
        kind: Any = type(self)  # each takes the model and, by their names, the rest
        settings = {name: getattr(self, name) for name in self._SETTINGS}
        return partial(kind, self._model, **self._options, **settings), ()


def models() -> dict[str, ModelCard]:
    """Read the cards of the built-in models that can run here, by name, sorted: what each does, and how well.

    Raises ModelLoadError if one of the files is damaged.
    """
    return {name: open_model(path, threads=1)[1] for name, path in builtin_models().items()}


def open_model(
    model: str | Path | Engine, *, threads: int | None = None, card: ModelCard | str | Path | None = None
) -> tuple[Engine, ModelCard]:
    """Open a built-in model, a file, or an engine that is open already.

    Args:
        model: a name from `quietframe models`, a path to a .tflite, .onnx or .xml file, or an engine.
        threads: CPU threads; None: as many as there are physical cores. An engine that is given has its own.
        card: a card, or the JSON file of one, to override the card in the file. None: the one in the file, or else one
            beside it, `mine.card.json` of `mine.tflite`.

    Raises:
        ModelLoadError: no such model, a file that is not one, no card, or a card that does not fit the file.
        MissingExtraError: the engine for this file is not installed.
        UsageError: threads out of range, or arguments of other types.
    """
    if threads is not None and (not isinstance(threads, int) or not 1 <= threads <= _MAX_THREADS):
        raise UsageError(f"Expected threads in [1, {_MAX_THREADS}]. Received: threads={threads!r}")
    if isinstance(card, (str, Path)):
        card = read_card_file(card)
    if not isinstance(card, ModelCard | None):
        raise UsageError(f"Expected card to be a ModelCard or a path. Received: {type(card).__name__}")
    if isinstance(model, (str, Path)):
        path = find_model(model)
        engine, origin, beside = open_engine(path, threads=threads), str(path), card_beside(path)
    elif hasattr(model, "run"):
        engine, origin, beside = model, type(model).__name__, None
    else:
        raise UsageError(f"Expected model to be a name, a path or an engine. Received: {type(model).__name__}")
    if card is None and engine.card_json is not None:
        card = parse_card(engine.card_json, origin=origin)
    elif card is None and beside:
        card = read_card_file(beside)
    elif card is None:
        beside_it = f"lay one beside it as {Path(origin).with_suffix(_CARD).name}, or " if engine is not model else ""
        raise ModelLoadError(f"{origin}: carries no model card: {beside_it}state it with --card (docs/model-card.md)")
    _check_fit(engine, card, origin)
    return engine, card


def card_beside(model: Path) -> Path | None:
    """Where the card of a model file lies that carries none: `mine.card.json` beside `mine.tflite`; None: nowhere."""
    path = model.with_suffix(_CARD)
    return path if path.is_file() else None


def open_engine(path: Path, *, threads: int | None = None) -> Engine:
    """Open a model file with the engine for its suffix, whatever its card says. See `open_model`.

    A file that is not built in runs once in another process first, if that has not happened before: see `try_model`.
    """
    engine_class = ENGINES.get(path.suffix.lower())
    if engine_class is None:
        remedy = f" (quietframe export {path.parent})" if path.suffix.lower() == ".keras" else ""
        raise ModelLoadError(f"{path}: unknown model format {path.suffix!r}: expected {', '.join(ENGINES)}{remedy}")
    if not is_builtin(path):
        try_model(path)
    return engine_class(path, threads=threads or physical_cores())


def batch_size(engine: Engine, card: ModelCard) -> int:
    """How many images the file takes at once, as the image's tensor says; 1 where that is free."""
    image = card.tensor("image", "inputs")
    info = engine.inputs.get(image.name) if image else None
    return (info.shape[0] if info and info.shape else None) or 1


def run_each(engine: Engine, runs: Iterable[Inputs], batch: int) -> Iterator[Inputs]:
    """Run an engine on inputs of one image each, so many at once as its file takes; give the results one by one.

    Where too few of one size are left, the last is repeated: a file takes its number, no more and no fewer.
    """
    if batch == 1:
        yield from map(engine.run, runs)
        return
    for _, same in groupby(runs, lambda inputs: [array.shape for array in inputs.values()]):
        while group := list(islice(same, batch)):
            filled = [*group, *[group[-1]] * (batch - len(group))]
            results = engine.run({name: np.concatenate([each[name] for each in filled]) for name in group[0]})
            yield from ({name: values[at : at + 1] for name, values in results.items()} for at in range(len(group)))


def _check_fit(engine: Engine, card: ModelCard, origin: str) -> None:
    batch = batch_size(engine, card)
    if batch > 1 and card.has_state:
        raise ModelLoadError(f"{origin}: takes {batch} frames at once; of a model that remembers, they come one by one")
    sides = (("input", card.inputs, engine.inputs), ("output", card.outputs, engine.outputs))
    for side, specs, tensors in sides:
        for spec in specs:
            info = tensors.get(spec.name)
            if info is None:
                names = ", ".join(tensors)
                raise ModelLoadError(f"{origin}: the card names {side} {spec.name!r}, the file has {names}")
            if info.dtype.kind not in "fiu":
                raise ModelLoadError(f"{origin}: {side} {spec.name!r} holds {info.dtype}, expected numbers")
            low, high = spec.limits
            if info.is_integer and not info.scale and spec.role in ("image", "sigma") and high - low < _FEW_LEVELS:
                raise ModelLoadError(
                    f"{origin}: {side} {spec.name!r} holds {info.dtype} without a scale, which is too coarse for the "
                    f"card's value_range [{low:g}, {high:g}]: state the range of the integers, such as [0, 255]"
                )
            shape = _shape(spec, card.spatial, batch)
            if not fits(spec, card.spatial, info.shape, batch):
                raise ModelLoadError(
                    f"{origin}: {side} {spec.name!r} has shape {list(info.shape)}, "
                    f"which is not the card's {spec.layout} {list(shape)}"
                )
    if missing := engine.inputs.keys() - {spec.name for spec in card.inputs}:
        raise ModelLoadError(f"{origin}: the card does not say what input {sorted(missing)[0]!r} is")


def _shape(spec: TensorSpec, spatial: Spatial, batch: int) -> tuple[int | None, ...]:
    """What the card says of a tensor's shape; None where it leaves an axis open."""
    height, width = None, None
    if spatial.kind == "fixed" and spatial.size_hw:
        height, width = (length // spec.stride for length in spatial.size_hw)
    sizes = {"N": batch, "C": spec.channels, "H": height, "W": width, "1": 1}
    return tuple(sizes[axis] for axis in spec.layout)


def fits(spec: TensorSpec, spatial: Spatial, found: tuple[int | None, ...], batch: int = 1) -> bool:
    """Whether a tensor of that shape, None where an axis is open, can be the one that a card speaks of."""
    stated = _shape(spec, spatial, batch)
    if spec.role == "scores" or spec.layout == "N111":  # of any rank
        known = math.prod(size for size in found if size is not None)
        return known == batch * spec.channels or (known in (1, batch) and None in found)
    if len(stated) != len(found) or any(a != b and None not in (a, b) for a, b in zip(stated, found, strict=True)):
        return False
    # An open channel axis would be a sign that the layout is another one.
    return spec.role != "image" or found[spec.layout.index("C")] == spec.channels

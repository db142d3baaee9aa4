"""What denoisers and classifiers share: opening a model and checking that its card fits the file."""

from __future__ import annotations

from pathlib import Path

from quietframe.card import ModelCard, Spatial, Task, TensorSpec, parse_card, read_card_file
from quietframe.cpu import physical_cores
from quietframe.engines import ENGINES, Engine
from quietframe.errors import ModelLoadError, UsageError
from quietframe.zoo import find_model

_MOST_THREADS = 1024
_CARD = ".card.json"


def open_model(
    model: str | Path | Engine, *, threads: int | None = None, card: ModelCard | str | Path | None = None
) -> tuple[Engine, ModelCard]:
    """Open a built-in model, a file, or an engine that is open already.

    Args:
        model: a name from `quietframe models`, a path to a .tflite or .onnx file, or an engine.
        threads: CPU threads; None: as many as there are physical cores. An engine that is given has its own.
        card: a card, or the JSON file of one, in place of the card in the file. None: the one in the file, or else one
            beside it, `mine.card.json` of `mine.tflite`.

    Raises:
        ModelLoadError: no such model, a file that is not one, no card, or a card that does not fit the file.
        MissingExtraError: the engine for this file is not installed.
        UsageError: threads out of range, or arguments of other types.
    """
    if threads is not None and (not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS):
        raise UsageError(f"Expected threads in [1, {_MOST_THREADS}]. Received: threads={threads!r}")
    if isinstance(card, (str, Path)):
        card = read_card_file(card)
    if not isinstance(card, ModelCard | None):
        raise UsageError(f"Expected card to be a ModelCard or a path. Received: {type(card).__name__}")
    if not isinstance(model, (str, Path)) and not hasattr(model, "run"):
        raise UsageError(f"Expected model to be a name, a path or an engine. Received: {type(model).__name__}")
    if isinstance(model, (str, Path)):
        path = find_model(model)
        engine, origin = open_engine(path, threads=threads), str(path)
        beside = card_beside(path)
    else:
        engine, origin, beside = model, type(model).__name__, None
    if card is None and engine.card_json is not None:
        card = parse_card(engine.card_json, origin=origin)
    elif card is None and beside:
        card = read_card_file(beside)
    elif card is None:
        beside_it = f", or lay it beside as {Path(origin).with_suffix(_CARD).name}" if engine is not model else ""
        raise ModelLoadError(
            f"{origin}: carries no model card: state one with --card FILE{beside_it} (docs/model-card.md)"
        )
    _check_fit(engine, card, origin)
    return engine, card


def card_beside(model: Path) -> Path | None:
    """Where the card of a model file lies that carries none: `mine.card.json` beside `mine.tflite`; None: nowhere."""
    path = model.with_suffix(_CARD)
    return path if path.is_file() else None


def open_engine(path: Path, *, threads: int | None = None) -> Engine:
    """Open a model file with the engine for its suffix, whatever the file says of itself. See `open_model`."""
    engine_class = ENGINES.get(path.suffix.lower())
    if engine_class is None:
        remedy = f" (quietframe export {path.parent})" if path.suffix.lower() == ".keras" else ""
        raise ModelLoadError(f"{path}: unknown model format {path.suffix!r}: expected {' or '.join(ENGINES)}{remedy}")
    return engine_class(path, threads=threads or physical_cores())


def require_task(card: ModelCard, task: Task) -> None:
    """Raise ModelLoadError unless the model does `task`."""
    if task not in card.task.split("+"):
        raise ModelLoadError(f"{card.name}: this model does {card.task}, not {task}: see quietframe models")


def _check_fit(engine: Engine, card: ModelCard, origin: str) -> None:
    sides = (("input", card.inputs, engine.inputs), ("output", card.outputs, engine.outputs))
    for side, specs, tensors in sides:
        for spec in specs:
            info = tensors.get(spec.name)
            if info is None:
                names = ", ".join(tensors)
                raise ModelLoadError(f"{origin}: the card names {side} {spec.name!r}, the file has {names}")
            if info.dtype.kind not in "fiu":
                raise ModelLoadError(f"{origin}: {side} {spec.name!r} holds {info.dtype}, expected numbers")
            if not _agree(spec, _shape(spec, card.spatial), info.shape):
                raise ModelLoadError(
                    f"{origin}: {side} {spec.name!r} has shape {list(info.shape)}, "
                    f"which is not the card's {spec.layout} {list(_shape(spec, card.spatial))}"
                )
    if missing := engine.inputs.keys() - {spec.name for spec in card.inputs}:
        raise ModelLoadError(f"{origin}: the card does not say what input {sorted(missing)[0]!r} is")


def _shape(spec: TensorSpec, spatial: Spatial) -> tuple[int | None, ...]:
    """What the card says of a tensor's shape; None where it leaves an axis open."""
    height, width = None, None
    if spatial.kind == "fixed" and spatial.size_hw:
        height, width = (length // spec.stride for length in spatial.size_hw)
    sizes = {"N": 1, "C": spec.channels, "H": height, "W": width, "1": 1}
    return tuple(sizes[axis] for axis in spec.layout)


def _agree(spec: TensorSpec, stated: tuple[int | None, ...], found: tuple[int | None, ...]) -> bool:
    if len(stated) != len(found) or any(a != b and None not in (a, b) for a, b in zip(stated, found, strict=True)):
        return False
    # An open channel axis would be a sign that the layout is another one.
    return spec.role != "image" or found[spec.layout.index("C")] == spec.channels

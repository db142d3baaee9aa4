"""Where 8 bits hurt a model, and what helps: another calibration, then the layers that cost most in float."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from quietframe.card import FloatLayer, ModelCard
from quietframe.tasks.base import open_model
from quietframe_export.formats import Format, Quantizer, Target
from quietframe_export.trace import DEFAULT_SIZE_HW

if TYPE_CHECKING:
    from quietframe_export.subject import Inputs, Subject

EXAMPLES = 8
"""Calibration inputs that layers and calibrations are compared on. The gate has frames of its own."""

MIN_GAIN_DB = 1.0
"""Of another calibration, at the outputs: less is chance where a layer ruins them all."""

BORDERS = ("QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear")
_ROUNDS = 15
_SIGMA_255 = 25.0


@dataclass(frozen=True)
class TensorError:
    """What 8 bits do to a tensor.

    Attributes:
        layer: the Keras layer that computes it.
        tensor: its name in the file.
        sqnr_db: signal to quantization noise, against the float model: all of int8 up to here.
        alone_db: the same at the model's output if no other layer than this one is int8; None if not measured.
    """

    layer: str
    tensor: str
    sqnr_db: float
    alone_db: float | None = None


class Verified(Protocol):
    """What a file did on the held-out frames. `reason`: why it is not kept; empty if it is."""

    @property
    def reason(self) -> str: ...  # noqa: D102


T = TypeVar("T", bound=Verified)


@dataclass(frozen=True)
class Improved(Generic[T]):
    """An int8 file that was tried to be made better.

    Attributes:
        data: the file, without its card.
        verified: what it did.
        calibration: how its ranges were chosen.
        calibrations: for each way, the SQNR of the outputs of a file with all layers in int8, in dB.
        errors: of all tensors, worst first, in int8 throughout.
        in_float: the layers in float, in the order in which they were taken.
        float_layers: what each of them adds, if the file passed.
        layers: how many there are.
    """

    data: bytes
    verified: T
    calibration: str
    calibrations: Mapping[str, float]
    errors: Sequence[TensorError]
    in_float: Sequence[str] = ()
    float_layers: tuple[FloatLayer, ...] = ()
    layers: int = 0


def improve(
    quantizer: Quantizer,
    subject: Subject,
    target: Target,
    verify: Callable[[bytes, Collection[str]], T],
    mixed: str | Sequence[str],
    progress: Callable[[str], None] = lambda text: None,
) -> Improved[T]:
    """Find the calibration whose outputs are nearest to the float model, then the fewest layers that stay in float.

    Layers are taken in the order of what each alone in int8 does to the outputs, worst first, until a file passes. If
    none does, the file with all layers in int8 is the result.

    verify: runs a file, some layers of which are in float, through the gate.
    mixed: `auto`, `none`, or the layers that are to be in float.
    """
    examples = subject.calibration[:EXAMPLES]
    ratios = {name: quantizer.output_sqnr_db(quantizer.build(name), examples) for name in quantizer.calibrations}
    progress("calibrations: " + ", ".join(f"{name} {ratio:.1f} dB" for name, ratio in ratios.items()))
    first_way = quantizer.calibrations[0]
    best = max(ratios, key=lambda name: ratios[name] - (name != first_way) * MIN_GAIN_DB)
    data = quantizer.build(best)
    errors = measure_tensors(quantizer, data, examples)

    def attempt(names: Sequence[str]) -> Improved[T]:
        names = quantizer.with_bound(names)
        made = quantizer.build(best, names) if names else data
        verified = verify(made, names)
        progress(f"{len(names)} of {len(quantizer.layers)} layers in float: {verified.reason or 'passed'}")
        return Improved(made, verified, best, ratios, errors, in_float=names, layers=len(quantizer.layers))

    if not isinstance(mixed, str):
        return _costed(attempt(mixed), quantizer, subject.card, target.format)
    first = attempt(())
    if not first.verified.reason or mixed == "none":
        return first
    progress(f"{len(quantizer.layers)} layers, each alone in int8")
    alone = costs(quantizer, best, examples)
    first = replace(first, errors=[replace(error, alone_db=alone.get(error.layer)) for error in errors])
    errors = first.errors
    floats = [each for each in target.format.operations(data) if target.all_integer and each.is_float]
    stray = {quantizer.layer_of(each.result) for each in floats if each.type not in BORDERS}
    order = sorted(quantizer.layers, key=lambda name: (name not in stray, alone[name]))
    passing, count, failing = None, 1, 0
    while passing is None and failing < len(order):
        found = attempt(order[:count])
        if found.verified.reason:
            failing, count = count, min(2 * count, len(order))
        else:
            passing = found
    if passing is None:
        return first
    while count - failing > 1:
        middle = (count + failing) // 2
        found = attempt(order[:middle])
        if found.verified.reason:
            failing = middle
        else:
            passing, count = found, middle
    return _costed(passing, quantizer, subject.card, target.format)


def measure_tensors(quantizer: Quantizer, data: bytes, examples: Sequence[Inputs]) -> Sequence[TensorError]:
    """Measure the tensors of a file that is in int8 throughout, worst first."""
    found = quantizer.errors(data, examples)
    errors = [TensorError(quantizer.layer_of(name), name, ratio) for name, ratio in found.items()]
    return sorted(errors, key=lambda error: error.sqnr_db)


def costs(quantizer: Quantizer, calibration: str, examples: Sequence[Inputs]) -> dict[str, float]:
    """Measure what each layer alone in int8, its inputs included, does to the outputs: SQNR in dB by layer."""
    found = {}
    for name in quantizer.layers:
        others = {other for other in quantizer.layers if other != name and name not in quantizer.bound(other)}
        found[name] = quantizer.output_sqnr_db(quantizer.build(calibration, others), examples)
    return found


def _costed(found: Improved[T], quantizer: Quantizer, card: ModelCard, kind: Format) -> Improved[T]:
    """Add what each float layer costs: the files with one more of them at a time, run by the runtime in turns."""
    names = found.in_float
    if found.verified.reason or not names:
        return found
    files = [quantizer.build(found.calibration, names[:count]) for count in range(len(names))] + [found.data]
    times = median_times_ms(files, card, kind)
    layers = [
        FloatLayer(
            name=name,
            added_ms=round(after_ms - before_ms, 3),
            added_percent=round(100 * (after_ms - before_ms) / times[0], 1),
            added_bytes=len(after) - len(before),
        )
        for name, before_ms, after_ms, before, after in zip(names, times, times[1:], files, files[1:], strict=False)
    ]
    return replace(found, float_layers=tuple(layers))


def median_times_ms(files: Sequence[bytes], card: ModelCard, kind: Format) -> list[float]:
    """Time files of one model by turns, a frame each, with the runtime's engine and threads. Returns medians."""
    from quietframe_export.subject import encode

    frame = np.random.default_rng(0).integers(0, 256, (*(card.spatial.size_hw or DEFAULT_SIZE_HW), 3), np.uint8)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for index, data in enumerate(files):
            path = Path(folder) / f"{index}{kind.suffixes[0]}"
            path.write_bytes(kind.files(data, card)[0])
            engine, _ = open_model(path, card=card)
            runs.append((engine, encode(engine, card, frame, _SIGMA_255)))
        samples: list[list[float]] = [[] for _ in files]
        for _ in range(_ROUNDS):
            for (engine, inputs), taken in zip(runs, samples, strict=True):
                start = time.perf_counter()
                engine.run(inputs)
                taken.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(taken[2:]) for taken in samples]  # the first two prepare the engine

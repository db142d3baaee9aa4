"""Operators of a .tflite file under LiteRT's profiler, and which of the file's operators each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quietframe_bench.operators.litert_library import Event, ProfiledModel, ProfileUnavailableError
from quietframe_bench.operators.nodes import Node
from quietframe_bench.operators.profile import Inputs, Profiled, TimedOperator

_COMPUTES = {
    "Convolution": {"CONV_2D", "DEPTHWISE_CONV_2D"},
    "Fully Connected": {"FULLY_CONNECTED", "CONV_2D"},  # a 1×1 convolution is a matrix product
    "Deconvolution": {"TRANSPOSE_CONV"},
    "Batch Matrix Multiply": {"BATCH_MATMUL"},
    "Static Reshape": {"RESHAPE"},
    "Sigmoid": {"LOGISTIC"},
    "Convert": {"QUANTIZE", "DEQUANTIZE"},
    "Subtract": {"SUB"},
    "Multiply": {"MUL"},
    "Clamp": {"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"},
    "Constant Pad": {"PAD", "PADV2"},
    "Resize Bilinear": {"RESIZE_BILINEAR"},
    "Max Pooling": {"MAX_POOL_2D"},
    "Average Pooling": {"AVERAGE_POOL_2D"},
    "Concatenate": {"CONCATENATION"},
}
"""XNNPACK's operators by the beginning of their names, and LiteRT's that they may be; others have the same name."""

_SOURCE = "LiteRT's profiler, with XNNPACK's operators inside the delegate"


class LiteRtProfile:
    """A .tflite file under the profiler of LiteRT.

    Args:
        path: the file.
        inputs: an array for each input, by the signature's names.
        nodes: its operators at the inputs' size.
        threads: how many to use.

    Raises:
        ProfileUnavailableError: LiteRT tells no times of operators, or not of this model.
    """

    def __init__(self, path: Path, inputs: Inputs, nodes: Sequence[Node], *, threads: int) -> None:
        self._model = ProfiledModel(path, inputs, threads=threads)
        self._nodes = nodes
        self._runs_ns: list[int] = []
        self._operators: list[TimedOperator] = []
        self._events: list[Event] = []
        duration_ns, self._events = self._model.run()
        if not self._events or not duration_ns:
            raise ProfileUnavailableError("LiteRT's profiler tells of no operators")

    def run(self, *, warmup: int, runs: int) -> None:
        """See `Profile.run`."""
        for _ in range(warmup):
            self._model.run()
        for _ in range(runs):
            duration_ns, events = self._model.run()
            self._runs_ns.append(duration_ns)
            self._operators = self._operators or [TimedOperator(event.kind) for event in events]
            for operator, event in zip(self._operators, events, strict=True):
                operator.samples_ns.append(event.duration_ns)

    def result(self) -> Profiled:
        """See `Profile.result`."""
        found, complete = match(self._events, self._nodes)
        for operator, node in zip(self._operators, found, strict=True):
            if node:
                operator.name, operator.output_shape = node.name, node.output_shape
                operator.macs, operator.bytes = node.macs, node.bytes
        notes = [] if complete else ["which layer each operator is could not be told: their work is left out"]
        return Profiled(_SOURCE, self._runs_ns, self._operators, notes)


def match(events: Sequence[Event], nodes: Sequence[Node]) -> tuple[list[Node | None], bool]:
    """The file's operator that each event is, or None, and whether all that multiply were found.

    LiteRT's own kernels tell their index. A delegate numbers its operators anew, leaves some out and adds some, but
    keeps the order: an event is the next operator of its type, and none that multiplies is ever skipped. Where that
    does not come out even, no event inside a delegate is given a layer.
    """
    outside = {event.node for event in events if not event.inside}
    waiting = [node for node in nodes if node.index not in outside]
    found: list[Node | None] = []
    even = True
    for event in events:
        if not event.inside:
            found.append(nodes[event.node] if event.node < len(nodes) else None)
            continue
        place = _next(event.kind, waiting)
        found.append(None if place is None else waiting[place])
        if place is None:
            even = even and not _multiplies(event.kind)
        else:
            del waiting[: place + 1]
    even = even and not any(node.macs for node in waiting)
    if not even:
        found = [None if event.inside else node for event, node in zip(events, found, strict=True)]
    return found, even


def _next(kind: str, waiting: Sequence[Node]) -> int | None:
    """Where the next operator of that type is, with none that multiplies before it."""
    accepted = _accepted(kind)
    for place, node in enumerate(waiting):
        if node.kind in accepted:
            return place
        if node.macs:
            return None
    return None


def _accepted(kind: str) -> set[str]:
    own = kind.partition(" (")[0]
    for name, accepted in _COMPUTES.items():
        if own.startswith(name):
            return accepted
    return {own.upper().replace(" ", "_")}


def _multiplies(kind: str) -> bool:
    return bool(_accepted(kind) & {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"})

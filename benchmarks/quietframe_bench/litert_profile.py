"""Experimental: LiteRT's own profiler, through the C interface of the library in its Python package.

The Python classes of `ai_edge_litert` offer no profiler. The library that they are built on, `libLiteRt.so`, does:
with it, XNNPACK reports the time of each of its operators (https://github.com/google-ai-edge/LiteRT, litert/c). Its
functions take these arguments since LiteRT 2.2; a later version may change them, and then `ProfileUnavailableError`
names what is missing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quietframe.engines import LiteRtEngine
from quietframe_bench.profiles import (
    Inputs,
    Node,
    Operator,
    Profiled,
    ProfileUnavailableError,
    Shape,
    Times,
    convolution_macs,
    short_name,
)

_SIGNATURE = 0
_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE = 1  # kLiteRtTensorBufferLockModeWrite
_MAX_AXES = 8
_INVOKE = b"Invoke"
_WHOLE, _OPERATOR, _INSIDE_DELEGATE = 1, 2, 8  # LiteRtProfilerEventType
_DELEGATE = b"Delegate"
_MULTIPLY = ("Convolution", "Deconvolution", "Fully Connected", "Batch Matrix Multiply")
"""How XNNPACK's names of operators that multiply begin."""

_Handle = ctypes.c_void_p
_SOURCE = "LiteRT's profiler, with XNNPACK's operators inside the delegate"


class Event(NamedTuple):
    """What the profiler reports of one operator in one run.

    Attributes:
        kind: the operator; inside a delegate by the delegate's name for it.
        node: its index: in the file, or inside the delegate.
        inside: it is a part of a delegate.
        duration_ns: measured in whole microseconds.
    """

    kind: str
    node: int
    inside: bool
    duration_ns: int

    @property
    def multiplies(self) -> bool:
        """Whether it is a delegate's convolution or matrix product."""
        return self.inside and self.kind.startswith(_MULTIPLY)


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint32, 7),
        ("has_strides", ctypes.c_uint32, 1),
        ("sizes", ctypes.c_int32 * _MAX_AXES),
        ("strides", ctypes.c_uint32 * _MAX_AXES),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element", ctypes.c_int), ("layout", _Layout))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory_before", ctypes.c_size_t * 3),
        ("memory_after", ctypes.c_size_t * 3),
        ("node", ctypes.c_uint64),
        ("graph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class LiteRtProfile:
    """A .tflite file that is run under LiteRT's profiler, at one size, with XNNPACK on the CPU.

    Nothing of it is freed: it lives in a process of its own.

    inputs: an array for each input, by the signature's names.

    Raises ProfileUnavailableError if this LiteRT has another interface, refuses the model, or reports no operators.
    """

    def __init__(self, path: Path, inputs: Inputs, *, threads: int) -> None:
        self._nodes = tflite_nodes(path.read_bytes(), {name: array.shape for name, array in inputs.items()})
        engine = LiteRtEngine(path, threads=threads)
        declared = {name: engine.inputs[name].as_declared(array) for name, array in inputs.items()}
        self._call = _library()
        self._environment = self._new("LiteRtCreateEnvironment", 0, None)
        self._file = self._new("LiteRtCreateModelFromFile", self._environment, str(path).encode())
        self._model = self._new("LiteRtCreateCompiledModel", self._environment, self._file, self._options(threads))
        self._signature = self._new("LiteRtGetModelSignature", self._file, _SIGNATURE)
        self._inputs = self._fill_inputs(declared)
        self._outputs = self._make_outputs()
        self._profiler = self._new("LiteRtCompiledModelGetProfiler", self._model)
        self._times: Times = []
        duration_ns, self._events = self.run()
        if not self._events or not duration_ns:
            raise ProfileUnavailableError("LiteRT's profiler reports no operators")

    def step(self) -> None:
        """Run it once."""
        duration_ns, events = self.run()
        self._times.append((duration_ns, [event.duration_ns for event in events]))

    def result(self) -> tuple[Profiled, Times]:
        """Return the operators, without times, and the times of all runs."""
        found, complete = match(self._events, self._nodes)
        layers = [(node.name, node.output_shape, node.macs, node.bytes) if node else () for node in found]
        operators = [Operator(event.kind, *layer) for event, layer in zip(self._events, layers, strict=True)]
        notes = [] if complete else ["which layer each operator is could not be found: their work is left out"]
        return Profiled(_SOURCE, operators, notes), self._times

    def run(self) -> tuple[int, list[Event]]:
        """Run once: (nanoseconds of the whole run by LiteRT's own clock, the events of its operators in order)."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        sides = len(self._inputs), self._inputs, len(self._outputs), self._outputs
        self._call("LiteRtRunCompiledModel", self._model, _SIGNATURE, *sides)
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * max(count.value, 1))()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return read_events(events[: count.value])

    def _options(self, threads: int) -> _Handle:
        options = self._new("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        settings = {"runtime_options_string": "enable_profiling = true", "xnnpack": f"num_threads = {threads}"}
        libc = ctypes.CDLL(None)
        libc.strdup.restype = ctypes.c_void_p
        free = ctypes.cast(libc.free, ctypes.c_void_p)  # LiteRT frees the texts
        for name, text in settings.items():
            payload = _Handle(libc.strdup(f"{text}\n".encode()))
            entry = self._new("LiteRtCreateOpaqueOptions", name.encode(), payload, free)
            self._call("LiteRtAddOpaqueOptions", options, entry)
        return options

    def _fill_inputs(self, inputs: Inputs) -> Any:
        buffers = []
        for index in range(self._count("LiteRtGetNumSignatureInputs")):
            name = ctypes.c_char_p()
            self._call("LiteRtGetSignatureInputName", self._signature, index, ctypes.byref(name))
            array = np.ascontiguousarray(inputs[(name.value or b"").decode()])
            kind = self._tensor_type("LiteRtGetSignatureInputTensorByIndex", index)
            where = self._model, _SIGNATURE, index
            if tuple(kind.layout.sizes[: kind.layout.rank]) != array.shape:
                sizes = (ctypes.c_int * array.ndim)(*array.shape)
                self._call("LiteRtCompiledModelResizeInputTensorNonStrict", *where, sizes, array.ndim)
                kind.layout.sizes[: array.ndim] = array.shape
            buffer = self._buffer(kind, "LiteRtGetCompiledModelInputBufferRequirements", index)
            memory = ctypes.c_void_p()
            self._call("LiteRtLockTensorBuffer", buffer, ctypes.byref(memory), _WRITE)
            ctypes.memmove(memory, array.ctypes.data, array.nbytes)
            self._call("LiteRtUnlockTensorBuffer", buffer)
            buffers.append(buffer)
        return (_Handle * len(buffers))(*buffers)

    def _make_outputs(self) -> Any:
        count = self._count("LiteRtGetNumSignatureOutputs")
        layouts = (_Layout * count)()
        allocate = ctypes.c_bool(True)
        self._call("LiteRtGetCompiledModelOutputTensorLayouts", self._model, _SIGNATURE, count, layouts, allocate)
        buffers = []
        for index, layout in enumerate(layouts):
            kind = self._tensor_type("LiteRtGetSignatureOutputTensorByIndex", index)
            kind.layout.sizes[:] = layout.sizes[:]
            buffers.append(self._buffer(kind, "LiteRtGetCompiledModelOutputBufferRequirements", index))
        return (_Handle * count)(*buffers)

    def _buffer(self, kind: _TensorType, requirements: str, index: int) -> _Handle:
        needs = self._new(requirements, self._model, _SIGNATURE, index)
        create = "LiteRtCreateManagedTensorBufferFromRequirements"
        return self._new(create, self._environment, ctypes.byref(kind), needs)

    def _tensor_type(self, function: str, index: int) -> _TensorType:
        kind = _TensorType()
        self._call("LiteRtGetRankedTensorType", self._new(function, self._signature, index), ctypes.byref(kind))
        return kind

    def _count(self, function: str) -> int:
        count = ctypes.c_size_t()
        self._call(function, self._signature, ctypes.byref(count))
        return count.value

    def _new(self, function: str, *arguments: Any) -> _Handle:
        """Call a function whose last argument is where it puts what it makes or finds."""
        handle = _Handle()
        self._call(function, *arguments, ctypes.byref(handle))
        return handle


def read_events(events: list[Any]) -> tuple[int, list[Event]]:
    """(nanoseconds of the whole run, its operators' events) out of LiteRT's records.

    Where a delegate reports its own operators, it is left out as a whole: nothing is counted twice.
    """
    whole = next((event.elapsed_us for event in events if event.kind == _WHOLE and event.tag == _INVOKE), 0)
    inside = any(event.kind == _INSIDE_DELEGATE for event in events)
    kept = [
        Event(event.tag.decode(errors="replace"), event.node, event.kind == _INSIDE_DELEGATE, event.elapsed_us * 1000)
        for event in events
        if event.kind == _INSIDE_DELEGATE or (event.kind == _OPERATOR and not (inside and _DELEGATE in event.tag))
    ]
    return whole * 1000, kept


@cache
def _library() -> Callable[..., None]:
    """Return a function that calls LiteRT's by name and raises ProfileUnavailableError if that fails."""
    import ai_edge_litert

    path = Path(ai_edge_litert.__file__).parent / "libLiteRt.so"
    try:
        library = ctypes.CDLL(str(path))
    except OSError as exc:
        raise ProfileUnavailableError(f"LiteRT's profiler: {exc}") from exc

    def call(function: str, *arguments: Any) -> None:
        try:
            entry = getattr(library, function)
        except AttributeError as exc:
            raise ProfileUnavailableError(f"this LiteRT's profiler lacks {function}") from exc
        entry.restype = ctypes.c_int
        # Whole numbers go as wide as a register: a size_t needs that, and an int is its lower half.
        wide = (ctypes.c_size_t(one) if isinstance(one, int) else one for one in arguments)
        if status := entry(*wide):
            raise ProfileUnavailableError(f"LiteRT's profiler: {function} fails with status {status}")

    return call


def match(events: Sequence[Event], nodes: Sequence[Node]) -> tuple[list[Node | None], bool]:
    """Return the file's operator that each event is, or None, and whether all that multiply were found.

    LiteRT's own kernels report their index. A delegate numbers its operators anew but keeps their order: those that
    multiply are the file's, one after the other. Where there are more or fewer, none of them is given a layer.
    """
    outside = {event.node for event in events if not event.inside}
    waiting = [node for index, node in enumerate(nodes) if node.macs and index not in outside]
    even = sum(event.multiplies for event in events) == len(waiting)
    delegated = iter(waiting if even else ())
    found: list[Node | None] = []
    for event in events:
        if event.inside:
            found.append(next(delegated, None) if event.multiplies else None)
        else:
            found.append(nodes[event.node] if event.node < len(nodes) else None)
    return found, even


# The operators of the file at the size that it runs at


def tflite_nodes(data: bytes, shapes: Mapping[str, Shape]) -> list[Node]:
    """Return the operators of a file's main graph, in the order in which they run.

    The graph is read with the classes that LiteRT generates from the published schema, the shapes from the
    interpreter's public tensor details.

    data: the file, which the engine has opened before. shapes: of the inputs, by the signature's names.
    """
    model, tensors = _read(data, shapes)
    return [_node(model, operator, tensors) for operator in model.subgraphs[0].operators]


def _read(data: bytes, shapes: Mapping[str, Shape]) -> tuple[Any, dict[int, Mapping[str, Any]]]:
    """Return the model, and details of the main graph's tensors by their index, as these inputs make them."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # A delegate would take the operators out of the graph, and with them the shapes between them. Nothing is run.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=plain)
    model = schema.ModelT.InitFromPackedBuf(data)
    graph, signatures = model.subgraphs[0], list(model.signatureDefs or [])
    inputs = {graph.tensors[index].name: index for index in graph.inputs}  # by the names that `LiteRtEngine` gives them
    if len(signatures) == 1:
        inputs = {entry.name: entry.tensorIndex for entry in signatures[0].inputs}
    for name, index in inputs.items():
        interpreter.resize_tensor_input(int(index), list(shapes[name.decode()]))
    interpreter.allocate_tensors()
    return model, {int(detail["index"]): detail for detail in interpreter.get_tensor_details()}


def _node(model: Any, operator: Any, tensors: Mapping[int, Mapping[str, Any]]) -> Node:
    inputs, outputs = ([tensors.get(int(one)) for one in side] for side in (operator.inputs, operator.outputs))
    kind = _kind(model.operatorCodes[operator.opcodeIndex])
    first: tuple[int, ...] = _shape(outputs[0]) if outputs else ()
    name = str(outputs[0]["name"]) if outputs and outputs[0] else kind
    macs = _macs(kind, list(map(_shape, inputs)), first)
    return Node(kind, short_name(name), first, macs, sum(map(_bytes, [*inputs, *outputs])))


def _macs(kind: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Return multiply-accumulates. Images lie as NHWC; channels come last in depthwise kernels, too."""
    if kind in ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D"):
        return convolution_macs(output, inputs[1], output[-1])
    if kind == "TRANSPOSE_CONV":  # its first input is the shape of its output
        return convolution_macs(inputs[2], inputs[1], inputs[2][-1])
    return prod(inputs[0]) * output[-1] if kind in ("FULLY_CONNECTED", "BATCH_MATMUL") else 0


def _kind(code: Any) -> str:
    from ai_edge_litert import schema_py_generated as schema

    number = max(code.builtinCode, code.deprecatedBuiltinCode)  # numbers above 127 are in the first alone
    if number == schema.BuiltinOperator.CUSTOM:
        return str(code.customCode.decode())
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    return names.get(number, f"operator {number}")


def _shape(detail: Mapping[str, Any] | None) -> tuple[int, ...]:
    return tuple(int(size) for size in detail["shape"]) if detail else ()


def _bytes(detail: Mapping[str, Any] | None) -> int:
    return prod(_shape(detail)) * np.dtype(detail["dtype"]).itemsize if detail else 0

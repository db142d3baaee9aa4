"""The operators of a .tflite file at the size it runs at."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from quietframe_bench.profiles import Node, Shape, convolution_macs, product_macs, short_name, transposed_macs


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
    macs, weights = _work(kind, list(map(_shape, inputs)), first)
    return Node(kind, short_name(name), first, macs, sum(map(_bytes, [*inputs, *outputs])), weights)


def _work(kind: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> tuple[int, int]:
    """Return (MACs, weights). Kernels lie as (out, …, in), depthwise ones as (1, …, out), images as NHWC."""
    if kind in ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D"):
        return convolution_macs(output, inputs[1], output[-1]), prod(inputs[1])
    if kind == "TRANSPOSE_CONV":  # its first input is the shape of its output
        return transposed_macs(inputs[2], inputs[1], inputs[2][-1]), prod(inputs[1])
    if kind in ("FULLY_CONNECTED", "BATCH_MATMUL"):
        return product_macs(inputs[0], output), prod(inputs[1]) if kind == "FULLY_CONNECTED" else 0
    return 0, 0


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

"""Small models that only multiply, to measure how fast an engine can: written here, without a training framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LAYERS = 4
"""Layers of a trial, one behind the other: what goes in and out of the engine then hardly counts."""

_SCALE = 1 / 64  # of the integers that stand for values around 0


@dataclass(frozen=True)
class Trial:
    """A stack of equal layers.

    Attributes:
        channels: into and out of each layer.
        rows_hw: height and width of the image, or (rows, 0) of a matrix.
        kernel: side of the convolution; 0: a matrix product (rows, channels)·(channels, channels).
    """

    channels: int
    rows_hw: tuple[int, int]
    kernel: int = 0

    @property
    def name(self) -> str:
        """Its description."""
        if not self.kernel:
            return f"matrix product {self.rows_hw[0]}×{self.channels}×{self.channels}"
        return f"{self.kernel}×{self.kernel} convolution, {self.channels} channels, {self.rows_hw[0]}×{self.rows_hw[1]}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        rows = self.rows_hw[0] * (self.rows_hw[1] if self.kernel else 1)
        return LAYERS * rows * self.channels**2 * max(self.kernel, 1) ** 2

    def image(self, dtype: str, *, channels_first: bool) -> NDArray[Any]:
        """Return an input: (1, H, W, C), (1, C, H, W) or (rows, C), of values around 0."""
        shape: tuple[int, ...] = (self.rows_hw[0], self.channels)
        if self.kernel:
            shape = (1, *self.rows_hw, self.channels)
            shape = (1, self.channels, *self.rows_hw) if channels_first else shape
        values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        return values if dtype == "float32" else _integers(values / _SCALE, dtype)

    def weights(self, dtype: str) -> tuple[NDArray[Any], float]:
        """Return (weights as (out, kernel, kernel, in) or (out, in), their scale); outputs are as large as inputs."""
        fan_in = self.channels * max(self.kernel, 1) ** 2
        shape = (self.channels, self.kernel, self.kernel, self.channels) if self.kernel else (self.channels,) * 2
        values = np.random.default_rng(1).standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(fan_in))
        if dtype == "float32":
            return values, 1.0
        scale = float(np.abs(values).max()) / 127
        return _integers(values / scale, "int8"), scale


TRIALS = (
    Trial(64, (64, 64), kernel=3),
    Trial(128, (40, 40), kernel=3),
    Trial(256, (48, 48), kernel=1),
    Trial(512, (512, 0)),
)
"""The trials. The fastest one counts: which it is differs between engines, precisions and machines."""


def onnx_trial(trial: Trial, dtype: str) -> bytes:
    """Return the .onnx file. dtype: `float32`, or `uint8` or `int8` for 8-bit integers (weights are int8)."""
    from onnx import helper, numpy_helper

    weights, weight_scale = trial.weights(dtype)
    weights = weights.transpose(0, 3, 1, 2) if trial.kernel else weights.T
    constants: dict[str, Any] = {"weights": weights}
    around = ["weights"]
    kind = "Conv" if trial.kernel else "MatMul"
    if dtype != "float32":
        kind = "QLinearConv" if trial.kernel else "QLinearMatMul"
        constants |= {
            "zero": np.array(128 if dtype == "uint8" else 0, dtype),
            "scale": np.array(_SCALE, np.float32),
            "weight_scale": np.array(weight_scale, np.float32),
            "weight_zero": np.array(0, np.int8),
        }
        around = ["scale", "zero", "weights", "weight_scale", "weight_zero", "scale", "zero"]
    pads = {"pads": [trial.kernel // 2] * 4} if trial.kernel else {}
    names = ["in", *(f"layer_{index}" for index in range(LAYERS - 1)), "out"]
    nodes = [helper.make_node(kind, [names[i], *around], [names[i + 1]], **pads) for i in range(LAYERS)]
    shape = trial.image(dtype, channels_first=True).shape
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ends = [helper.make_tensor_value_info(name, element, shape) for name in ("in", "out")]
    tensors = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def litert_trial(trial: Trial, dtype: str) -> bytes:
    """Return the .tflite file. dtype: `float32` or `int8`, which has a scale for each output channel."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    weights, weight_scale = trial.weights(dtype)
    floats = dtype == "float32"
    bias = np.zeros(trial.channels, np.float32 if floats else np.int32)
    shape = list(trial.image(dtype, channels_first=False).shape)
    kinds = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}

    def tensor(name: str, shape: list[int], dtype: str, buffer: int = 0, scales: tuple[float, ...] = ()) -> Any:
        quantization = None
        if not floats:
            zeros = [0] * len(scales)
            quantization = schema.QuantizationParametersT(scale=list(scales), zeroPoint=zeros, quantizedDimension=0)
        return schema.TensorT(
            shape=shape, type=kinds[dtype], name=name, buffer=buffer, quantization=quantization, hasRank=True
        )

    many = (weight_scale,) * trial.channels
    tensors = [
        tensor("weights", list(weights.shape), dtype, 1, many),
        tensor("bias", [trial.channels], bias.dtype.name, 2, tuple(scale * _SCALE for scale in many)),
        *(tensor(f"layer_{index}", shape, dtype, 0, (_SCALE,)) for index in range(LAYERS + 1)),
    ]
    if trial.kernel:
        kind, version, options_kind = "CONV_2D", 1 if floats else 3, schema.BuiltinOptions.Conv2DOptions
        options: Any = schema.Conv2DOptionsT(padding=schema.Padding.SAME, strideH=1, strideW=1)
    else:
        kind, version, options_kind = "FULLY_CONNECTED", 1 if floats else 4, schema.BuiltinOptions.FullyConnectedOptions
        options = schema.FullyConnectedOptionsT()
    operators = [
        schema.OperatorT(
            inputs=[index, 0, 1], outputs=[index + 1], builtinOptionsType=options_kind, builtinOptions=options
        )
        for index in range(2, LAYERS + 2)
    ]
    code = getattr(schema.BuiltinOperator, kind)
    buffers = [schema.BufferT(), *(schema.BufferT(data=np.frombuffer(a.tobytes(), np.uint8)) for a in (weights, bias))]
    first, last = 2, LAYERS + 2
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=version)],
        subgraphs=[schema.SubGraphT(tensors=tensors, operators=operators, inputs=[first], outputs=[last])],
        buffers=buffers,
        signatureDefs=[
            schema.SignatureDefT(
                signatureKey="serving_default",
                inputs=[schema.TensorMapT(name="in", tensorIndex=first)],
                outputs=[schema.TensorMapT(name="out", tensorIndex=last)],
            )
        ],
    )
    builder = flatbuffers.Builder(weights.nbytes + 8192)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _integers(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    offset = 128 if dtype == "uint8" else 0
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values) + offset, limits.min, limits.max).astype(dtype)

"""Small real models, written without TensorFlow: what the runtime's tests run.

What a tiny model computes is known by heart, so that a test can say what must come out:

- `denoised` is the image, blurred by a 3×3 mean if `blur` is set (at the edges: the mean of the pixels that are
  there), plus the noise level that the model was given if `sigma` is set (σ 10 makes it 10 levels brighter), plus
  `offset_255`;
- `scores` is the softmax of ten times the mean brightness of each of four bands of rows of a 28×28 gray image, so
  that the label of the brightest band wins.

A TFLite file names its tensors otherwise than its signature does and lists `scores` before `denoised`, as
converters do. This needs NumPy and ai-edge-litert; the ONNX files need the onnx package.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from quietframe.card import CARD_KEY, DataTerms, ModelCard, Spatial, TensorSpec

LABELS = ("first", "second", "third", "fourth")
SIZE_HW = (28, 28)
MAX_SIGMA_255 = 75


@dataclass(frozen=True)
class TinyModel:
    """A tiny model: its task, the tensors it has and the file it is written to.

    Attributes:
        task: as in the card.
        suffix: `.tflite` or `.onnx`.
        dtype: of the inputs and outputs: `float32`, `uint8`, `int8` or `int16` (without `multiple`); ONNX: `float32`
            or `uint8` images, the rest float32.
        colour, layout: of the image tensors; layout None is the format's own (NHWC in TFLite, NCHW in ONNX).
        size_hw: a fixed size; None takes any. Classifiers have 28×28.
        fit: how frames meet a fixed size.
        multiple: the model takes only sizes that are multiples of it (a space-to-depth is inside).
        sigma: it takes a noise level, which it adds to the image.
        level_map: that level is a map, `multiple` times smaller than the image, in each direction.
        blur: it blurs by a 3×3 mean.
        offset_255: it adds that many 8-bit levels.
        value_range: of the image tensors, for dtype float32.
        carries_card: the card is inside the file.
    """

    task: str = "denoise"
    suffix: str = ".tflite"
    dtype: str = "float32"
    colour: str = "BGR"
    layout: str | None = None
    size_hw: tuple[int, int] | None = None
    fit: str = "resize"
    multiple: int = 1
    sigma: bool = False
    level_map: bool = False
    blur: bool = False
    offset_255: int = 0
    value_range: tuple[float, float] = (0.0, 1.0)
    carries_card: bool = True
    card_changes: dict[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Colour channels of the image tensors."""
        return 1 if self.colour == "GRAY" else 3

    @property
    def native_layout(self) -> str:
        """The layout that the format's operations work in."""
        return "NHWC" if self.suffix == ".tflite" else "NCHW"

    @property
    def image_layout(self) -> str:
        """The layout of the image tensors."""
        return self.layout or self.native_layout

    @property
    def range(self) -> tuple[float, float]:
        """The values that stand for 0 and 255. An integer tensor of an ONNX file has no scale of its own."""
        if self.dtype == "float32":
            return self.value_range
        return (0.0, 255.0) if self.suffix == ".onnx" else (0.0, 1.0)

    @property
    def classifies(self) -> bool:
        """The model has scores."""
        return "classify" in self.task

    @property
    def denoises(self) -> bool:
        """The model has an image output."""
        return "denoise" in self.task

    def card(self) -> ModelCard:
        """The model's card, with `card_changes` laid over."""
        spatial = Spatial(kind="any", multiple=self.multiple, halo=int(self.blur))
        if self.classifies or self.size_hw:
            spatial = Spatial(kind="fixed", size_hw=self._size(), fit=self.fit, halo=int(self.blur))  # type: ignore[arg-type]
        image = TensorSpec("image", "image", self.image_layout, self.channels, self.range, self.colour)  # type: ignore[arg-type]
        sigma = TensorSpec("sigma", "sigma", "N111", 1, (0.0, MAX_SIGMA_255 / 255))
        if self.level_map:
            sigma = replace(sigma, layout=self.native_layout, stride=self.multiple)
        denoised = replace(image, name="denoised")
        scores = TensorSpec("scores", "scores", "NC", len(LABELS), (0.0, 1.0))
        card = ModelCard(
            name=f"tiny-{self.task}",
            task=self.task,  # type: ignore[arg-type]
            recipe="tiny",
            precision="fp32" if self.dtype == "float32" else "int8",
            inputs=(image, *([sigma] if self.sigma else [])),
            outputs=(*([denoised] if self.denoises else []), *([scores] if self.classifies else [])),
            spatial=spatial,
            conditioning="sigma" if self.sigma else "none",
            noise="none",
            data=DataTerms("none", "none"),
            parameters=0,
            macs_per_pixel=9.0,
            license="Apache-2.0",
            labels=LABELS if self.classifies else (),
        )
        return replace(card, **self.card_changes)

    def to_bytes(self) -> bytes:
        """The model file."""
        return _tflite(self) if self.suffix == ".tflite" else _onnx(self)

    def _size(self) -> tuple[int, int]:
        return SIZE_HW if self.classifies else self.size_hw or (4 * self.multiple, 4 * self.multiple)

    def shape(self, *, free: bool) -> list[int]:
        """The shape of the image tensors; with `free`, −1 where the size is free."""
        height, width = self._size()
        if free and not (self.classifies or self.size_hw):
            height = width = -1
        hwc = [height, width, self.channels]
        return [1, *hwc] if self.image_layout == "NHWC" else [1, self.channels, height, width]

    def map_shape(self, *, free: bool) -> list[int]:
        """The shape of the noise level's tensor, in the format's own layout."""
        height, width = self._size()
        hw = [-1, -1] if free and not self.size_hw else [height // self.multiple, width // self.multiple]
        return ([1, *hw, 1] if self.native_layout == "NHWC" else [1, 1, *hw]) if self.level_map else [1, 1, 1, 1]

    @property
    def band_weights(self) -> np.ndarray:
        """(labels, 784) float32: the weights of the classifier's one dense layer."""
        weights = np.zeros((len(LABELS), *SIZE_HW), np.float32)
        rows = SIZE_HW[0] // len(LABELS)
        for index in range(len(LABELS)):
            weights[index, index * rows : (index + 1) * rows] = 10 / (rows * SIZE_HW[1])
        return weights.reshape(len(LABELS), -1)


class _TfliteGraph:
    """A subgraph under construction."""

    TYPES = {  # noqa: RUF012
        "float32": schema.TensorType.FLOAT32,
        "uint8": schema.TensorType.UINT8,
        "int8": schema.TensorType.INT8,
        "int16": schema.TensorType.INT16,
        "int32": schema.TensorType.INT32,
    }

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[str] = []
        self.buffers = [schema.BufferT()]

    def tensor(
        self,
        name: str,
        shape: list[int],
        dtype: str,
        *,
        signature: list[int] | None = None,
        scale: float = 0.0,
        zero_point: int = 0,
        value: np.ndarray | None = None,
    ) -> int:
        quantization = None
        if scale:
            quantization = schema.QuantizationParametersT(scale=[scale], zeroPoint=[zero_point])
        buffer = 0
        if value is not None:
            buffer = self.buffer(np.ascontiguousarray(value).tobytes())
        self.tensors.append(
            schema.TensorT(
                shape=shape,
                shapeSignature=signature,
                type=self.TYPES[dtype],
                name=name,
                buffer=buffer,
                quantization=quantization,
                hasRank=True,
            )
        )
        return len(self.tensors) - 1

    def buffer(self, data: bytes) -> int:
        self.buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
        return len(self.buffers) - 1

    def add(self, name: str, inputs: list[int], output: int, options_name: str = "", options: Any = None) -> int:
        if name not in self.codes:
            self.codes.append(name)
        self.operators.append(
            schema.OperatorT(
                opcodeIndex=self.codes.index(name),
                inputs=inputs,
                outputs=[output],
                builtinOptionsType=getattr(schema.BuiltinOptions, options_name, 0),
                builtinOptions=options,
            )
        )
        return output


_QUANTIZED = {"float32": (0.0, 0), "uint8": (1 / 255, 0), "int8": (1 / 255, -128), "int16": (1 / 32767, 0)}
_SCORES_QUANTIZED = {"float32": (0.0, 0), "uint8": (1 / 256, 0), "int8": (1 / 256, -128), "int16": (1 / 32768, 0)}
# Operations know a type only from some version on.
_VERSIONS = {"int8": 2, "int16": 4}
_OTHER_VERSIONS = {
    ("RESHAPE", "int8"): 1,
    ("RESHAPE", "int16"): 1,
    ("AVERAGE_POOL_2D", "int16"): 3,
    ("SOFTMAX", "int16"): 3,
}


def _tflite(model: TinyModel) -> bytes:
    graph = _TfliteGraph()
    scale, zero_point = _QUANTIZED[model.dtype]
    shape, signature = model.shape(free=False), model.shape(free=True)
    to_native, from_native = [0, 2, 3, 1], [0, 3, 1, 2]

    def picture(name: str, *, native: bool = True, block: int = 1) -> int:
        def order(axes: list[int]) -> list[int]:
            if native and model.image_layout != "NHWC":
                axes = [axes[axis] for axis in to_native]
            n, h, w, c = axes
            return (
                [n, *(size // block if size > 0 else size for size in (h, w)), c * block * block] if block > 1 else axes
            )

        return graph.tensor(
            name, order(shape), model.dtype, signature=order(signature), scale=scale, zero_point=zero_point
        )

    def permute(source: int, target: int, order: list[int]) -> int:
        order_tensor = graph.tensor(f"order_{target}", [4], "int32", value=np.array(order, np.int32))
        return graph.add("TRANSPOSE", [source, order_tensor], target, "TransposeOptions", schema.TransposeOptionsT())

    def plus(source: int, other: int, target: int) -> int:
        return graph.add("ADD", [source, other], target, "AddOptions", schema.AddOptionsT(potScaleInt16=False))

    image = picture("serving_default_image:0", native=False)
    inputs = {"image": image}
    if model.sigma:
        inputs["sigma"] = graph.tensor(
            "serving_default_sigma:0",
            model.map_shape(free=False),
            model.dtype,
            signature=model.map_shape(free=True),
            scale=scale,
            zero_point=zero_point,
        )
    other_layout = model.image_layout != "NHWC"
    current = permute(image, picture("as_nhwc"), to_native) if other_layout else image
    outputs = {}
    if model.classifies:
        outputs["scores"] = _tflite_scores(graph, model, current)
    if model.denoises:
        if model.multiple > 1:
            options = schema.SpaceToDepthOptionsT(blockSize=model.multiple)
            blocks = picture("blocks", block=model.multiple)
            current = graph.add("SPACE_TO_DEPTH", [current], blocks, "SpaceToDepthOptions", options)
            if model.level_map:
                current = plus(current, inputs["sigma"], picture("raised_blocks", block=model.multiple))
            options = schema.DepthToSpaceOptionsT(blockSize=model.multiple)
            current = graph.add("DEPTH_TO_SPACE", [current], picture("pixels"), "DepthToSpaceOptions", options)
        if model.blur:
            options = schema.Pool2DOptionsT(
                padding=schema.Padding.SAME, strideW=1, strideH=1, filterWidth=3, filterHeight=3
            )
            current = graph.add("AVERAGE_POOL_2D", [current], picture("blurred"), "Pool2DOptions", options)
        if model.sigma and not (model.level_map and model.multiple > 1):
            current = plus(current, inputs["sigma"], picture("raised"))
        low, high = model.value_range
        offset = model.offset_255 / 255 * (high - low if model.dtype == "float32" else 1)
        code = np.rint(offset / scale) + zero_point if scale else offset
        value = np.full((1, 1, 1, 1), code, model.dtype)
        constant = graph.tensor("offset", [1, 1, 1, 1], model.dtype, scale=scale, zero_point=zero_point, value=value)
        result = picture("StatefulPartitionedCall:1", native=not other_layout)
        if other_layout:
            permute(plus(current, constant, picture("offset_nhwc")), result, from_native)
        else:
            plus(current, constant, result)
        outputs["denoised"] = result
    return _pack(graph, model, inputs, outputs)


def _tflite_scores(graph: _TfliteGraph, model: TinyModel, image: int) -> int:
    """Flatten, one dense layer, softmax."""
    labels, pixels = model.band_weights.shape
    scale, zero_point = _QUANTIZED[model.dtype]
    weight_type = "int8" if model.dtype == "int16" else model.dtype
    weight_scale, weight_zero = (0.0, 0)
    weights = model.band_weights
    if scale:
        weight_scale = float(weights.max()) / 127
        weight_zero = 128 if model.dtype == "uint8" else 0
        weights = (np.rint(weights / weight_scale) + weight_zero).astype(weight_type)
    flat = graph.tensor("flat", [1, pixels], model.dtype, scale=scale, zero_point=zero_point)
    graph.add("RESHAPE", [image], flat, "ReshapeOptions", schema.ReshapeOptionsT(newShape=[1, pixels]))
    weight = graph.tensor(
        "weights", [labels, pixels], weight_type, scale=weight_scale, zero_point=weight_zero, value=weights
    )
    logit_scale, logit_zero = {"float32": (0.0, 0), "int16": (16 / 32768, 0)}.get(
        model.dtype, (16 / 256, -128 if model.dtype == "int8" else 0)
    )
    logits = graph.tensor("logits", [1, labels], model.dtype, scale=logit_scale, zero_point=logit_zero)
    options = schema.FullyConnectedOptionsT()
    graph.add("FULLY_CONNECTED", [flat, weight, -1], logits, "FullyConnectedOptions", options)
    scale, zero_point = _SCORES_QUANTIZED[model.dtype]
    scores = graph.tensor("StatefulPartitionedCall:0", [1, labels], model.dtype, scale=scale, zero_point=zero_point)
    return graph.add("SOFTMAX", [logits], scores, "SoftmaxOptions", schema.SoftmaxOptionsT(beta=1.0))


def _pack(graph: _TfliteGraph, model: TinyModel, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
    metadata = []
    if model.carries_card:
        text = model.card().to_json()
        metadata = [schema.MetadataT(name=CARD_KEY, buffer=graph.buffer(text.encode()))]
    codes = []
    for name in graph.codes:
        code = getattr(schema.BuiltinOperator, name)
        version = _OTHER_VERSIONS.get((name, model.dtype), _VERSIONS.get(model.dtype, 1))
        codes.append(schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=version))
    subgraph = schema.SubGraphT(
        tensors=graph.tensors,
        operators=graph.operators,
        inputs=list(inputs.values()),
        outputs=list(outputs.values()),
        name="main",
    )
    signature = schema.SignatureDefT(
        signatureKey="serving_default",
        inputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in inputs.items()],
        outputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in outputs.items()],
    )
    packed = schema.ModelT(
        version=3,
        description="tiny",
        operatorCodes=codes,
        subgraphs=[subgraph],
        buffers=graph.buffers,
        metadata=metadata,
        signatureDefs=[signature],
    )
    builder = flatbuffers.Builder(4096)
    builder.Finish(packed.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _onnx(model: TinyModel) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    dtype = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}[model.dtype]
    nodes, constants = [], []
    shape = [size if size > 0 else f"free_{axis}" for axis, size in enumerate(model.shape(free=True))]
    inputs = [helper.make_tensor_value_info("image", dtype, shape)]

    def node(name: str, sources: list[str], target: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(name, sources, [target], **attributes))
        return target

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    current = "image"
    if model.dtype != "float32":
        current = node("Cast", [current], "image_real", to=TensorProto.FLOAT)
    if model.image_layout != "NCHW":
        current = node("Transpose", [current], "image_nchw", perm=[0, 3, 1, 2])
    outputs = []
    if model.classifies:
        outputs.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(LABELS)]))
        low, high = model.range
        flat = node("Flatten", [current], "flat")
        constant("weights", np.ascontiguousarray(model.band_weights.T) / np.float32(high - low))
        node("Softmax", [node("MatMul", [flat, "weights"], "logits")], "scores", axis=-1)
    if model.denoises:
        if model.sigma:
            axes = [size if size > 0 else f"sigma_{axis}" for axis, size in enumerate(model.map_shape(free=True))]
            inputs.append(helper.make_tensor_value_info("sigma", TensorProto.FLOAT, axes))
            constant("range", np.float32(model.range[1] - model.range[0]))
            node("Mul", ["sigma", "range"], "level")
        if model.multiple > 1:
            current = node("SpaceToDepth", [current], "blocks", blocksize=model.multiple)
            if model.level_map:
                current = node("Add", [current, "level"], "raised_blocks")
            current = node("DepthToSpace", [current], "pixels", blocksize=model.multiple)
        if model.blur:
            current = node("AveragePool", [current], "blurred", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        if model.sigma and not (model.level_map and model.multiple > 1):
            current = node("Add", [current, "level"], "raised")
        low, high = model.range
        offset = constant("offset", np.full((1, 1, 1, 1), model.offset_255 / 255 * (high - low), np.float32))
        steps: list[tuple[str, dict[str, Any]]] = []
        if model.image_layout != "NCHW":
            steps.append(("Transpose", {"perm": [0, 2, 3, 1]}))
        if model.dtype != "float32":
            constant("low", np.float32(0))
            constant("high", np.float32(255))
            steps += [("Round", {}), ("Clip", {}), ("Cast", {"to": dtype})]
        current = node("Add", [current, offset], "denoised" if not steps else "offset_added")
        for index, (name, attributes) in enumerate(steps):
            target = "denoised" if index == len(steps) - 1 else f"step_{index}"
            current = node(name, [current, *(["low", "high"] if name == "Clip" else [])], target, **attributes)
        outputs.append(helper.make_tensor_value_info("denoised", dtype, shape))
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    packed = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if model.carries_card:
        helper.set_model_props(packed, {CARD_KEY: model.card().to_json()})
    onnx.checker.check_model(packed)
    return packed.SerializeToString()

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
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from quietframe.card import CARD_KEY, DataTerms, ModelCard, Spatial, TensorSpec
from quietframe.engines.openvino import CARD_PATH

LABELS = ("first", "second", "third", "fourth")
SIZE_HW = (28, 28)
MAX_SIGMA_255 = 75


@dataclass(frozen=True)
class TinyModel:
    """A tiny model: its task, the tensors it has and the file it is written to.

    Attributes:
        task: as in the card.
        suffix: `.tflite`, `.onnx` or `.xml` (OpenVINO, made from the ONNX file; `write` lays the .bin beside it).
        dtype: of the inputs and outputs: `float32`, `uint8`, `int8` or `int16` (without `multiple`); ONNX: `float32`
            or `uint8` images, the rest float32.
        colour, layout: of the image tensors; layout None is the format's own (NHWC in TFLite, NCHW in ONNX).
        size_hw: a fixed size; None takes any. Classifiers have 28×28.
        batch: how many images it takes at once.
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
    batch: int = 1
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
        return 1 if self.colour == "GRAY" else 3

    @property
    def native_layout(self) -> str:
        """The layout that the format's operations work in."""
        return "NHWC" if self.suffix == ".tflite" else "NCHW"

    @property
    def image_layout(self) -> str:
        return self.layout or self.native_layout

    @property
    def range(self) -> tuple[float, float]:
        """The values that stand for 0 and 255. An integer tensor of an ONNX file has no scale of its own."""
        if self.dtype == "float32":
            return self.value_range
        return (0.0, 1.0) if self.suffix == ".tflite" else (0.0, 255.0)

    @property
    def classifies(self) -> bool:
        return "classify" in self.task

    @property
    def denoises(self) -> bool:
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
        return _tflite(self) if self.suffix == ".tflite" else _onnx(self)

    def write(self, path: Path) -> None:
        if self.suffix == ".xml":
            _write_openvino(self, path)
        else:
            path.write_bytes(self.to_bytes())

    def _size(self) -> tuple[int, int]:
        return SIZE_HW if self.classifies else self.size_hw or (4 * self.multiple, 4 * self.multiple)

    def shape(self, *, free: bool) -> list[int]:
        """The shape of the image tensors; with `free`, −1 where the size is free."""
        height, width = self._size()
        if free and not (self.classifies or self.size_hw):
            height = width = -1
        hwc = [height, width, self.channels]
        return [self.batch, *hwc] if self.image_layout == "NHWC" else [self.batch, self.channels, height, width]

    def map_shape(self, *, free: bool) -> list[int]:
        """The shape of the noise level's tensor, in the format's own layout."""
        height, width = self._size()
        hw = [-1, -1] if free and not self.size_hw else [height // self.multiple, width // self.multiple]
        hwc = ([*hw, 1] if self.native_layout == "NHWC" else [1, *hw]) if self.level_map else [1, 1, 1]
        return [self.batch, *hwc]

    @property
    def band_weights(self) -> np.ndarray:
        """(labels, 784) float32: the weights of the classifier's one dense layer."""
        weights = np.zeros((len(LABELS), *SIZE_HW), np.float32)
        rows = SIZE_HW[0] // len(LABELS)
        for index in range(len(LABELS)):
            weights[index, index * rows : (index + 1) * rows] = 10 / (rows * SIZE_HW[1])
        return weights.reshape(len(LABELS), -1)


class _Tflite:
    """A subgraph under construction; its image tensors have the model's type and scale."""

    def __init__(self, model: TinyModel) -> None:
        self.model = model
        self.quantized = _QUANTIZED[model.dtype]
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[str] = []
        self.buffers = [schema.BufferT()]

    def tensor(
        self,
        name: str,
        shape: list[int],
        quantized: tuple[float, int] = (0.0, 0),
        *,
        dtype: str | None = None,
        signature: list[int] | None = None,
        value: np.ndarray | None = None,
    ) -> int:
        scale, zero_point = quantized
        self.tensors.append(
            schema.TensorT(
                shape=shape,
                shapeSignature=signature,
                type=getattr(schema.TensorType, (dtype or self.model.dtype).upper()),
                name=name,
                buffer=0 if value is None else self.buffer(np.ascontiguousarray(value).tobytes()),
                quantization=schema.QuantizationParametersT(scale=[scale], zeroPoint=[zero_point]) if scale else None,
                hasRank=True,
            )
        )
        return len(self.tensors) - 1

    def image(self, name: str, *, native: bool = True, block: int = 1) -> int:
        """A tensor of the image's shape, or of that of its blocks, in the model's own layout or as NHWC."""

        def axes(*, free: bool) -> list[int]:
            n, *hwc = self.model.shape(free=free)
            if native and self.model.image_layout != "NHWC":
                hwc = [hwc[1], hwc[2], hwc[0]]
            if block > 1:
                hwc = [*(size // block if size > 0 else size for size in hwc[:2]), hwc[2] * block * block]
            return [n, *hwc]

        return self.tensor(name, axes(free=False), self.quantized, signature=axes(free=True))

    def buffer(self, data: bytes) -> int:
        self.buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
        return len(self.buffers) - 1

    def add(self, name: str, inputs: list[int], output: int, options: Any) -> int:
        if name not in self.codes:
            self.codes.append(name)
        self.operators.append(
            schema.OperatorT(
                opcodeIndex=self.codes.index(name),
                inputs=inputs,
                outputs=[output],
                builtinOptionsType=getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T")),
                builtinOptions=options,
            )
        )
        return output

    def permute(self, source: int, target: int, order: list[int]) -> int:
        axes = self.tensor(f"order_{target}", [4], dtype="int32", value=np.array(order, np.int32))
        return self.add("TRANSPOSE", [source, axes], target, schema.TransposeOptionsT())

    def plus(self, source: int, other: int, target: int) -> int:
        return self.add("ADD", [source, other], target, schema.AddOptionsT(potScaleInt16=False))


_QUANTIZED = {"float32": (0.0, 0), "uint8": (1 / 255, 0), "int8": (1 / 255, -128), "int16": (1 / 32767, 0)}
_LOGITS_QUANTIZED = {"float32": (0.0, 0), "uint8": (16 / 256, 0), "int8": (16 / 256, -128), "int16": (16 / 32768, 0)}
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
    graph = _Tflite(model)
    image = graph.image("serving_default_image:0", native=False)
    inputs, outputs = {"image": image}, {}
    if model.sigma:
        shapes = (model.map_shape(free=free) for free in (False, True))
        inputs["sigma"] = graph.tensor("serving_default_sigma:0", next(shapes), graph.quantized, signature=next(shapes))
    other_layout = model.image_layout != "NHWC"
    current = graph.permute(image, graph.image("as_nhwc"), [0, 2, 3, 1]) if other_layout else image
    if model.classifies:
        outputs["scores"] = _tflite_scores(graph, current)
    if model.denoises:
        if model.multiple > 1:
            blocks, into = graph.image("blocks", block=model.multiple), {"blockSize": model.multiple}
            current = graph.add("SPACE_TO_DEPTH", [current], blocks, schema.SpaceToDepthOptionsT(**into))
            if model.level_map:
                current = graph.plus(current, inputs["sigma"], graph.image("raised_blocks", block=model.multiple))
            current = graph.add("DEPTH_TO_SPACE", [current], graph.image("pixels"), schema.DepthToSpaceOptionsT(**into))
        if model.blur:
            window = {"strideW": 1, "strideH": 1, "filterWidth": 3, "filterHeight": 3}
            options = schema.Pool2DOptionsT(padding=schema.Padding.SAME, **window)
            current = graph.add("AVERAGE_POOL_2D", [current], graph.image("blurred"), options)
        if model.sigma and not (model.level_map and model.multiple > 1):
            current = graph.plus(current, inputs["sigma"], graph.image("raised"))
        (low, high), (scale, zero_point) = model.value_range, graph.quantized
        offset = model.offset_255 / 255 * (high - low if model.dtype == "float32" else 1)
        value = np.full((1, 1, 1, 1), np.rint(offset / scale) + zero_point if scale else offset, model.dtype)
        constant = graph.tensor("offset", [1, 1, 1, 1], graph.quantized, value=value)
        outputs["denoised"] = result = graph.image("StatefulPartitionedCall:1", native=not other_layout)
        shifted = graph.plus(current, constant, graph.image("offset_nhwc") if other_layout else result)
        if other_layout:
            graph.permute(shifted, result, [0, 3, 1, 2])
    return _pack(graph, inputs, outputs)


def _tflite_scores(graph: _Tflite, image: int) -> int:
    """Flatten, one dense layer, softmax."""
    weights, dtype = graph.model.band_weights, graph.model.dtype
    labels, pixels = weights.shape
    weight_type, quantized = "int8" if dtype == "int16" else dtype, (0.0, 0)
    if dtype != "float32":
        scale, zero_point = quantized = float(weights.max()) / 127, 128 if dtype == "uint8" else 0
        weights = (np.rint(weights / scale) + zero_point).astype(weight_type)
    batch = graph.model.batch
    flat = graph.tensor("flat", [batch, pixels], graph.quantized)
    graph.add("RESHAPE", [image], flat, schema.ReshapeOptionsT(newShape=[batch, pixels]))
    weight = graph.tensor("weights", [labels, pixels], quantized, dtype=weight_type, value=weights)
    logits = graph.tensor("logits", [batch, labels], _LOGITS_QUANTIZED[dtype])
    graph.add("FULLY_CONNECTED", [flat, weight, -1], logits, schema.FullyConnectedOptionsT())
    scores = graph.tensor("StatefulPartitionedCall:0", [batch, labels], _SCORES_QUANTIZED[dtype])
    return graph.add("SOFTMAX", [logits], scores, schema.SoftmaxOptionsT(beta=1.0))


def _pack(graph: _Tflite, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
    model, metadata, codes = graph.model, [], []
    if model.carries_card:
        metadata = [schema.MetadataT(name=CARD_KEY, buffer=graph.buffer(model.card().to_json().encode()))]
    for name in graph.codes:
        code = getattr(schema.BuiltinOperator, name)
        version = _OTHER_VERSIONS.get((name, model.dtype), _VERSIONS.get(model.dtype, 1))
        codes.append(schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=version))
    sides = {"inputs": inputs, "outputs": outputs}
    subgraph = schema.SubGraphT(
        tensors=graph.tensors,
        operators=graph.operators,
        name="main",
        **{side: list(tensors.values()) for side, tensors in sides.items()},
    )
    maps = {
        side: [schema.TensorMapT(name=name, tensorIndex=index) for name, index in tensors.items()]
        for side, tensors in sides.items()
    }
    packed = schema.ModelT(
        version=3,
        description="tiny",
        operatorCodes=codes,
        subgraphs=[subgraph],
        buffers=graph.buffers,
        metadata=metadata,
        signatureDefs=[schema.SignatureDefT(signatureKey="serving_default", **maps)],
    )
    builder = flatbuffers.Builder(4096)
    builder.Finish(packed.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _write_openvino(model: TinyModel, path: Path) -> None:
    import openvino

    converted = openvino.Core().read_model(_onnx(replace(model, carries_card=False)))
    if model.carries_card:
        converted.set_rt_info(model.card().to_json(), CARD_PATH)
    openvino.save_model(converted, path, compress_to_fp16=False)


def _onnx(model: TinyModel) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    dtype = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}[model.dtype]
    nodes, constants, outputs = [], [], []

    def tensor(name: str, kind: int, axes: list[int]) -> Any:
        return helper.make_tensor_value_info(
            name, kind, [size if size > 0 else f"{name}_{axis}" for axis, size in enumerate(axes)]
        )

    def node(name: str, sources: list[str], target: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(name, sources, [target], **attributes))
        return target

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.float32(value), name))
        return name

    inputs = [tensor("image", dtype, model.shape(free=True))]
    low, high = model.range
    current = "image"
    if model.dtype != "float32":
        current = node("Cast", [current], "image_real", to=TensorProto.FLOAT)
    if model.image_layout != "NCHW":
        current = node("Transpose", [current], "image_nchw", perm=[0, 3, 1, 2])
    if model.classifies:
        outputs.append(tensor("scores", TensorProto.FLOAT, [model.batch, len(LABELS)]))
        weights = constant("weights", model.band_weights.T / (high - low))
        flat = node("Flatten", [current], "flat")
        node("Softmax", [node("MatMul", [flat, weights], "logits")], "scores", axis=-1)
    if model.denoises:
        if model.sigma:
            inputs.append(tensor("sigma", TensorProto.FLOAT, model.map_shape(free=True)))
            node("Mul", ["sigma", constant("range", high - low)], "level")
        if model.multiple > 1:
            current = node("SpaceToDepth", [current], "blocks", blocksize=model.multiple)
            if model.level_map:
                current = node("Add", [current, "level"], "raised_blocks")
            current = node("DepthToSpace", [current], "pixels", blocksize=model.multiple)
        if model.blur:
            current = node("AveragePool", [current], "blurred", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        if model.sigma and not (model.level_map and model.multiple > 1):
            current = node("Add", [current, "level"], "raised")
        offset = constant("offset", np.full((1, 1, 1, 1), model.offset_255 / 255 * (high - low)))
        current = node("Add", [current, offset], "offset_added")
        if model.image_layout != "NCHW":
            current = node("Transpose", [current], "as_nhwc", perm=[0, 2, 3, 1])
        if model.dtype != "float32":
            limits = [constant("low", 0), constant("high", 255)]
            current = node("Clip", [node("Round", [current], "rounded"), *limits], "clipped")
        node("Cast", [current], "denoised", to=dtype)
        outputs.append(tensor("denoised", dtype, model.shape(free=True)))
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    packed = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if model.carries_card:
        helper.set_model_props(packed, {CARD_KEY: model.card().to_json()})
    onnx.checker.check_model(packed)
    return packed.SerializeToString()

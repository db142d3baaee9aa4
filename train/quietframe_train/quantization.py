"""Train any Keras model for the 8 bits that it is to be exported to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
from keras import layers

from quietframe.errors import UsageError
from quietframe_train.graph import with_calls
from quietframe_train.layers import FakeQuantization, QuantizedWeights

_WITH_KERNELS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.Dense,
)
_COMPUTING = (
    *_WITH_KERNELS,
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.ELU,
    layers.PReLU,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.Rescaling,
    layers.Normalization,
)
_FUSED = (layers.BatchNormalization, layers.ReLU, layers.Activation, layers.LeakyReLU)
_COMPUTING_OPERATIONS = ("Add", "Subtract", "Multiply", "Relu", "Relu6", "Gelu", "Silu", "HardSwish", "LeakyRelu")


def quantize_aware(model: keras.Model) -> keras.Model:
    """Copy a model so that its training meets the rounding of an int8 file, and learns to bear it.

    While it trains, the kernels of convolutions and dense layers are rounded to 8 bits, one scale for each output
    channel. So is what every convolution, dense layer, sum, product, activation and normalization gives, in the range
    that it has had over the last batches: `FakeQuantization`, which the recipes of camera models place by hand. What
    converters fuse, such as a convolution, its batch normalization and its ReLU, is rounded once, at its end. The
    model's outputs stay as they are. `predict` and `evaluate` compute without any rounding.

    Fine-tune a trained model for some epochs at a tenth of its learning rate. Save it as any other; `quietframe export`
    takes the file, leaves these layers out and chooses the ranges of the int8 file itself.

    Args:
        model: a functional or Sequential model that is built. It is left alone; the copy begins with its weights.
            Models in it are copied with it.

    Returns:
        A functional model of the same inputs and outputs. Compile it before it is trained.

    Raises:
        UsageError: a subclassed model, whose layers are not known, or one that is quantization-aware already.

    Example:
        >>> aware = quantize_aware(keras.models.load_model("mine.keras"))
        >>> aware.compile(keras.optimizers.Adam(1e-4), "mse")
        >>> aware.fit(noisy, clean, epochs=5)
        >>> aware.save("mine-aware.keras")
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise UsageError("Expected a functional or a built Sequential Keras model, whose layers are known.")
    if any(isinstance(layer, QuantizedWeights) for layer in _layers(model)):
        raise UsageError("Expected a model as it was before quantize_aware(): this one is quantization-aware already.")
    made = {tensor._keras_history.operation.name for tensor in model.outputs}
    ends = {layer.name for layer in _operations(model) if _ends_an_operation(layer)} - made
    wrapped: dict[int, Any] = {}
    calls: dict[str, int] = {}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        name = layer.name
        if isinstance(layer, _WITH_KERNELS):
            if id(layer) not in wrapped:  # a shared layer is called more than once
                wrapped[id(layer)] = QuantizedWeights(layer, name=f"{name}_aware")
            layer = wrapped[id(layer)]
        result = layer(*args, **kwargs)
        if name not in ends:
            return result
        calls[name] = calls.get(name, 0) + 1
        again = f"_{calls[name]}" if calls[name] > 1 else ""  # each of a shared layer's results has a range of its own
        return FakeQuantization(name=f"{name}_quantized{again}")(result)

    return with_calls(model, call)


def without_quantization(model: keras.Model) -> keras.Model:
    """Copy a quantization-aware model as it was before, with the weights that it has now; any other is returned."""
    if not any(isinstance(layer, QuantizedWeights) for layer in _layers(model)):
        return model

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, FakeQuantization) and layer.limit is None:
            return args[0]
        return (layer.layer if isinstance(layer, QuantizedWeights) else layer)(*args, **kwargs)

    return with_calls(model, call)


def _layers(model: keras.Model) -> Iterator[Any]:
    yield from model._flatten_layers(include_self=False, recursive=True)


def _operations(model: keras.Model) -> Iterator[Any]:
    """Yield the layers and other operations of a model, and of the models in it."""
    for operation in getattr(model, "_functional", model).operations:
        if isinstance(operation, keras.Model):
            yield from _operations(operation)
        else:
            yield operation


def _ends_an_operation(layer: Any) -> bool:
    if not (isinstance(layer, (*_COMPUTING, *_FUSED)) or type(layer).__name__ in _COMPUTING_OPERATIONS):
        return False
    readers = [node.operation for node in layer._outbound_nodes]
    fuses = len(readers) == 1 and isinstance(readers[0], _FUSED)
    return not fuses and not any(isinstance(reader, FakeQuantization) for reader in readers)

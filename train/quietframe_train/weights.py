"""Weights of another training, to start one from."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms
from quietframe.errors import SourceError
from quietframe.tasks.base import open_model
from quietframe.zoo import builtin_models
from quietframe_train.data.base import UNKNOWN_TERMS
from quietframe_train.run_folder import MODEL, RECIPE, load_run

if TYPE_CHECKING:
    import keras

_EXPORTED = ".tflite"
_TRAINED = 2.0  # deviation of a kernel's values, whatever they were before: Muon's steps are of one size
_CONVOLUTION = "_1/convolution"  # behind a layer's name, in an exported file


@dataclass(frozen=True)
class Start:
    """The weights that a training begins with: `identity` is the file's name and hash, `data` what they were
    trained on, None where nobody says.
    """

    file: Path
    identity: str
    data: DataTerms | None

    def with_its_data(self, data: DataTerms) -> DataTerms:
        """Say what a model has seen that began here and went on with `data`."""
        if self.data == data:
            return data
        before = self.data or DataTerms(f"what {self.file.name} was trained on", UNKNOWN_TERMS)
        return DataTerms(f"{data.name}; before: {before.name}", f"{data.terms}; {before.terms}")


def find_start(path: str | Path) -> Start:
    """Find the weights at a path: a finished run folder, a `.keras`, `.weights.h5` or exported `.tflite` file.

    A built-in model goes by its name. Raises SourceError if there are none.
    """
    path = Path(path)
    file = path / MODEL if path.is_dir() else path
    if not path.exists():
        file = builtin_models().get(str(path), path)
    if not file.is_file():
        what = f"no {MODEL} in it" if path.is_dir() else "no such file, folder or built-in model"
        raise SourceError(f"{path}: {what}; start from a finished run folder, a .keras, .weights.h5 or .tflite file")
    of_run = (file.parent / RECIPE).is_file()
    name = f"{file.parent.name}/{file.name}" if of_run else file.name
    identity = f"{name}, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    if file.suffix == _EXPORTED:
        return Start(file, identity, open_model(file, threads=None, card=None)[1].data)
    return Start(file, identity, load_run(file.parent).data if of_run else None)


def load_weights(model: keras.Model, file: Path) -> None:
    """Load the weights of a file that `find_start` found. Raises SourceError if they are not of such a model."""
    import keras

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that it finds no weights for
            if file.name.endswith(".weights.h5"):
                model.load_weights(file)
            elif file.suffix == _EXPORTED:
                _set_exported(model, file)
            else:
                _copy_weights(keras.saving.load_model(file, compile=False), model)
    except (OSError, ValueError, TypeError, KeyError, UserWarning) as exc:
        reason = " ".join(str(exc).split())
        raise SourceError(f"{file}: not weights of this recipe's model ({reason[:200]})") from exc


def _copy_weights(trained: keras.Model, model: keras.Model) -> None:
    """Copy all weights; into a model of another kind, those of the layers of the same names."""
    if trained.name == model.name:
        model.set_weights(trained.get_weights())
        return
    for layer in trained.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def _set_exported(model: keras.Model, file: Path) -> None:
    """Set the convolutions of an exported file, brought back to floats, in the layers of their names.

    Into each one the exporter folded its batch normalization, which is set to scale and shift alone: each filter gets
    the size that those of camera models have in the end, to which their learning rates fit, and `gamma` the rest. Only
    a model with further inputs may have layers that are not in the file.
    """
    import keras
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    convolutions = _exported_convolutions(interpreter)
    if not convolutions:
        raise ValueError("it holds no quantized convolutions, and nothing else is read")
    missing = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    missing = [name for name in missing if name not in convolutions]
    if missing and len(model.inputs) == len(interpreter.get_input_details()):
        raise ValueError(f"it has no layer {missing[0]!r}")
    for name, (kernel, bias) in convolutions.items():
        layer = model.get_layer(name)
        if layer.use_bias:
            layer.set_weights([kernel, bias])
            continue
        gamma = np.maximum(np.std(kernel, axis=(0, 1, 2)), 1e-6) / _TRAINED
        norm = model.get_layer(f"{name}_bn")
        layer.set_weights([kernel / gamma])
        norm.set_weights([gamma, bias, 0 * gamma, 0 * gamma + 1 - norm.epsilon])


def _exported_convolutions(interpreter: Any) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Read kernel (height, width, inputs, outputs) and bias (outputs,) of each convolution, by its layer's name."""
    kernels, biases = {}, {}
    for details in interpreter.get_tensor_details():
        # A bias is named after all that was folded into it, the kernel among them, and that after its layer.
        for part in details["name"].split(";"):
            if part.endswith("/MatMul"):
                raise ValueError(f"only convolutions are read, and it holds the dense layer {part.split('/')[-2]}")
            if part.endswith(_CONVOLUTION):
                layer = part.removesuffix(_CONVOLUTION).split("/")[-1]
                if len(details["shape"]) == 1:
                    biases[layer] = _dequantized(interpreter, details)
                elif part == details["name"]:
                    kernels[layer] = _dequantized(interpreter, details).transpose(1, 2, 3, 0)
    return {layer: (kernel, biases[layer]) for layer, kernel in kernels.items()}


def _dequantized(interpreter: Any, details: dict[str, Any]) -> NDArray[np.float32]:
    values, quantization = interpreter.get_tensor(details["index"]), details["quantization_parameters"]
    scales = quantization["scales"].reshape(-1, *[1] * (values.ndim - 1))
    return (values * scales).astype(np.float32)

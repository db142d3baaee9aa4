"""Run TensorFlow's converter, in a process of its own where it can crash. Imports no Keras."""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from quietframe.card import Precision
from quietframe_export.apart import run_apart

_OPERATIONS = {
    "int8": "TFLITE_BUILTINS_INT8",
    "int16x8": "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
}

Examples = Sequence[Mapping[str, NDArray[Any]]]


def convert_folder(
    folder: str, precision: Precision, examples: Examples, ends: str, *, calibrate_only: bool = False
) -> bytes:
    """Convert a SavedModel.

    examples: inputs to calibrate with, for int8 and int16x8. ends: the type of int8 files' inputs and outputs.
    calibrate_only: make a float file with the ranges of its tensors, which `quantize_calibrated` takes.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.target_spec.supported_ops = [tf.lite.OpsSet[_OPERATIONS.get(precision, "TFLITE_BUILTINS")]]
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in _OPERATIONS:
        converter.representative_dataset = lambda: iter(examples)
        converter.inference_input_type = tf.dtypes.as_dtype(ends if precision == "int8" else "int16")
        converter.inference_output_type = converter.inference_input_type
    converter._experimental_calibrate_only = calibrate_only  # as tf.lite.experimental.QuantizationDebugger sets it
    return bytes(converter.convert())


def quantize_calibrated(calibrated: bytes, float_operations: Collection[str], ends: str = "int8") -> bytes:
    """Quantize a calibrated file to int8, but for the operations with these names, those of their first outputs.

    It is the function behind `tf.lite.experimental.QuantizationDebugger`, which gives files with float ends only.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    of_type = tf.dtypes.as_dtype(ends)
    names = set(float_operations) or None
    return bytes(mlir_quantize(calibrated, input_data_type=of_type, output_data_type=of_type, denylisted_nodes=names))


def convert_folder_apart(folder: str, precision: Precision, examples: Examples, ends: str) -> bytes:
    """Convert a SavedModel in a process of its own, which costs the seconds of importing TensorFlow.

    Raises RuntimeError with the converter's error, or if it crashes.
    """
    with tempfile.TemporaryDirectory() as work:
        task, result = Path(work) / "task", Path(work) / "result"
        task.write_bytes(pickle.dumps((folder, precision, list(examples), ends)))
        run_apart(__name__, str(task), str(result), what="TensorFlow's converter")
        return result.read_bytes()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(convert_folder(*pickle.loads(Path(sys.argv[1]).read_bytes())))

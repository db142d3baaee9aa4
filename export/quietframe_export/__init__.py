"""Export: Keras models to TFLite and ONNX files that carry their card, each verified against Keras.

Holds the converters, the comparison and the gate; the command line and users' scripts call `export_model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quietframe_export.exporter import ExportReport, FileReport, export_model
    from quietframe_export.micro import CArray, write_c_array
    from quietframe_export.subject import Subject, subject_from_keras, subject_from_run

__all__ = [
    "CArray",
    "ExportReport",
    "FileReport",
    "Subject",
    "export_model",
    "subject_from_keras",
    "subject_from_run",
    "write_c_array",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: they bring TensorFlow along."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from quietframe_export import exporter, micro, subject

    return getattr(next(module for module in (exporter, subject, micro) if hasattr(module, name)), name)

"""What a .keras file says of its model, read without Keras: it is a ZIP archive with a description in JSON."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietframe.errors import ModelLoadError

_MAX_BYTES = 64 << 20
"""Of a description: the largest networks of keras.applications take less than 2 MB."""

_OWN_MODULES = ("keras", "builtins", "")


@dataclass(frozen=True)
class KerasFile:
    """A Keras model's description.

    Attributes:
        name, kind: of the model; kinds are `Functional`, `Sequential` or a class of its author's.
        keras_version, saved: what wrote it, and when, as it says.
        inputs: the shape of each by its name, None where an axis is open.
        layers: how many there are of each class, models within the model looked into.
        custom: names of classes that are not of Keras.
    """

    name: str
    kind: str
    keras_version: str
    saved: str
    inputs: Mapping[str, Sequence[int | None]]
    layers: Mapping[str, int]
    custom: Sequence[str]


def read_keras_file(path: Path) -> KerasFile:
    """Read the description of a .keras file; nothing in it is run.

    Raises ModelLoadError if the file cannot be read or is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            model, metadata = (_json(archive, name) for name in ("config.json", "metadata.json"))
        layers = list(_layers(model))
        inputs = {
            str(layer["config"]["name"]): tuple(layer["config"]["batch_shape"])
            for layer in model["config"].get("layers", ())
            if layer["class_name"] == "InputLayer"
        }
        return KerasFile(
            name=str(model["config"].get("name", path.stem)),
            kind=str(model["class_name"]),
            keras_version=str(metadata.get("keras_version", "unknown")),
            saved=str(metadata.get("date_saved", "unknown")).replace("@", " "),
            inputs=inputs,
            layers=dict(Counter(str(each["class_name"]) for each in layers if each["class_name"] != "InputLayer")),
            custom=sorted({str(each["class_name"]) for each in (model, *layers) if _is_custom(each)}),
        )
    except OSError as exc:
        raise ModelLoadError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    except (zipfile.BadZipFile, KeyError, TypeError, AttributeError, ValueError, RecursionError) as exc:
        raise ModelLoadError(f"{path}: not a .keras file ({type(exc).__name__}: {exc})") from exc


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > _MAX_BYTES:
        raise ValueError(f"{name} holds {archive.getinfo(name).file_size} bytes")
    return json.loads(archive.read(name))


def _layers(model: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for layer in model["config"].get("layers", ()):
        if "layers" in layer["config"]:
            yield from _layers(layer)
        else:
            yield layer


def _is_custom(record: Mapping[str, Any]) -> bool:
    return str(record.get("module") or "").partition(".")[0] not in _OWN_MODULES

"""Recipes as JSON: a frozen dataclass becomes an object whose `kind` names its class, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from quietframe.errors import SourceError
from quietframe_train import camera_noise, corruption, recipe

_KINDS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        recipe.Recipe,
        recipe.ModelConfig,
        recipe.DigitData,
        recipe.PhotoData,
        recipe.PictureData,
        recipe.Augmentation,
        recipe.OptimizerConfig,
        recipe.Constant,
        recipe.WarmupCosine,
        recipe.EarlyStopping,
        recipe.SettlingPhase,
        recipe.QuantizationPhase,
        corruption.NoNoise,
        corruption.UniformNoise,
        corruption.NormalNoise,
        corruption.MixedNoise,
        camera_noise.CameraNoise,
    )
}


_FORMER: Mapping[type, frozenset[str]] = {recipe.Recipe: frozenset({"test_sigmas"})}
"""Fields that earlier versions wrote and that decide nothing of a training: they are passed over."""


def to_record(value: Any) -> Any:
    """A recipe, or any part of one, as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__} | {f.name: to_record(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_record(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_record(item) for item in value]
    return value


def recipe_from_record(record: Any, *, origin: str) -> recipe.Recipe:
    """The recipe that `to_record` wrote; equal to the one it came from.

    Raises SourceError, with `origin` and the field, for a record that is not a recipe's.
    """
    found = _from_record(record, origin, "recipe")
    if not isinstance(found, recipe.Recipe):
        raise SourceError(f"{origin}: field 'recipe' is no recipe")
    return found


def _from_record(record: Any, origin: str, path: str) -> Any:
    if isinstance(record, list):
        return tuple(_from_record(item, origin, f"{path}[{index}]") for index, item in enumerate(record))
    if not isinstance(record, dict):
        return record
    if "kind" not in record:
        return {key: _from_record(item, origin, f"{path}.{key}") for key, item in record.items()}
    kind = _KINDS.get(record["kind"])
    if kind is None:
        raise SourceError(f"{origin}: {path}: kind {record['kind']!r} is not known to this version of QuietFrame")
    known = record.keys() - {"kind"} - _FORMER.get(kind, frozenset())
    values = {key: _from_record(record[key], origin, f"{path}.{key}") for key in record if key in known}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    wrong = sorted((values.keys() - {f.name for f in fields(kind)}) | (needed - values.keys()))
    if wrong:
        raise SourceError(f"{origin}: {path}: field {wrong[0]!r} is missing or not known to this version of QuietFrame")
    return kind(**values)

"""Frozen dataclasses as JSON and back, read strictly by the types of their fields."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class RecordError(ValueError):
    """A record does not fit its dataclass; the message begins with the path of the field."""


def to_record(value: Any) -> Any:
    """Turn a dataclass, or any part of one, into JSON values: an object whose `kind` names its class."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__} | {f.name: to_record(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_record(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_record(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_record(record: Any, hint: type[T], kinds: Mapping[str, type] | None, path: str = "") -> T:
    """Build a dataclass from JSON values; equal to what `to_record` was given.

    Args:
        record: JSON values.
        hint: the dataclass, or another type that a field may have.
        kinds: the dataclasses that may occur, by name. None: objects have no `kind`, each is what its field's type
            says, and fields that are not known are ignored.
        path: of the record, for errors.

    Raises RecordError for missing or mistyped fields, and for unknown ones where objects have a kind.
    """
    value: T = _value(record, hint, kinds, path)
    return value


def _value(record: Any, hint: Any, kinds: Mapping[str, type] | None, path: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        rest = tuple(arg for arg in args if arg is not NoneType)
        if record is None and len(rest) < len(args):
            return None
        return _value(record, rest[0], kinds, path) if len(rest) == 1 else _object(record, rest, kinds, path)
    if origin is tuple:
        _expect(isinstance(record, list), record, path, "a list")
        inner = [args[0]] * len(record) if args[-1] is ... else args
        _expect(len(inner) == len(record), record, path, f"{len(inner)} items")
        return tuple(_value(item, inner[i], kinds, f"{path}[{i}]") for i, item in enumerate(record))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _expect(isinstance(record, dict), record, path, "an object")
        return {key: _value(item, args[1], kinds, _join(path, key)) for key, item in record.items()}
    if hint in _PLAIN or origin is Literal:
        return _plain(record, hint, args, path)
    return _object(record, (origin or hint,), kinds, path)


def _plain(record: Any, hint: Any, args: tuple[Any, ...], path: str) -> Any:
    """A value that is no object and no list of a stated type."""
    if hint is Any:  # lists become tuples, as frozen dataclasses hold them
        return tuple(_plain(item, Any, (), path) for item in record) if isinstance(record, list) else record
    if args:
        return _expect(record in args, record, path, " or ".join(map(repr, args)))
    types, expected, made = _PLAIN[hint]
    fits = type(record) in types and (hint is not float or abs(record) <= sys.float_info.max)  # not so with a NaN
    return made(_expect(fits, record, path, expected))


_PLAIN: Mapping[Any, tuple[tuple[type, ...], str, Any]] = {
    Any: ((), "", None),
    bool: ((bool,), "true or false", bool),
    float: ((int, float), "a finite number", float),
    int: ((int,), "a whole number", int),
    str: ((str,), "a text", str),
    Path: ((str,), "a path", Path),
}


def _object(record: Any, hints: tuple[Any, ...], kinds: Mapping[str, type] | None, path: str) -> Any:
    if kinds is None:
        _expect(isinstance(record, dict), record, path, "an object")
        kind = hints[0]
    else:
        _expect(isinstance(record, dict) and "kind" in record, record, path, "an object with a kind")
        kind = kinds.get(str(record["kind"]))
        if kind is None:
            raise _error(path, f"kind {record['kind']!r} is not known to this version of QuietFrame")
    types = get_type_hints(kind)
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind)}
    for name in record if kinds is not None else ():
        if name not in known and name != "kind":
            raise _error(path, f"field {name!r} is not known to this version of QuietFrame")
    for name, needed in known.items():
        if needed and name not in record:
            raise _error(path, f"field {name!r} is missing")
    values = {name: _value(record[name], types[name], kinds, _join(path, name)) for name in known if name in record}
    return _expect(isinstance(found := kind(**values), hints), found, path, " or ".join(h.__name__ for h in hints))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _error(path: str, what: str) -> RecordError:
    return RecordError(f"{path}: {what}" if path else what)


def _expect(holds: bool, value: Any, path: str, expected: str) -> Any:
    if not holds:
        raise _error(path, f"expected {expected}, received {value!r:.80}")
    return value

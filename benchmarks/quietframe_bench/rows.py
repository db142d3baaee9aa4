"""Files of `quietframe bench --json`: JSON Lines, each line a row that describes itself.

Rows of several runs and kinds may stand in one file. What a kind of row holds beside what all hold is checked by
those who use it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from quietframe.errors import SourceError, UsageError

SCHEMA = 2
"""Version of the rows that are read."""

MEASURE_AGAIN = "run quietframe bench --json again with this version"

_SHOWN = 60  # characters of a wrong value that an error repeats


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a file, in order: `rows[n]` stood on line n + 1.

    Every row holds what rows of all kinds do: `schema`, `kind`, `finished_utc`, `model` (with `file` and `sha256`;
    None for what is no model), `settings`, `machine`, `versions` and `commit` (with `sha` and `dirty`; None where it
    is not known), each of its type. Numbers are finite, and texts can be written out again.

    Raises:
        SourceError: the file cannot be read, or is empty.
        UsageError: not JSON Lines, another schema, a line that is cut off, or a field that is missing or ill-typed.
            The message names the line.
    """
    try:
        data = Path(path).read_bytes()  # in one go: it may be a pipe
    except (OSError, ValueError) as exc:  # ValueError: no path at all
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise SourceError(f"{path}: cannot be read ({reason})") from exc
    if not data.strip():
        raise SourceError(f"{path}: the file is empty: quietframe bench --json FILE writes one")
    lines = data.split(b"\n")  # not splitlines: the texts inside a row may hold other line ends
    is_whole = not lines[-1].strip()
    if is_whole:
        lines.pop()
    rows = []
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        try:
            row = _parse(line)
        except ValueError as exc:
            if number == 1 and (schema := _schema_of_document(data)) is not None:
                raise _other_schema(str(path), schema) from exc
            if number == len(lines) and not is_whole:
                raise UsageError(f"{where} is cut off, as by an interrupted run: delete it or measure again") from exc
            raise UsageError(f"{where} is no JSON object of quietframe bench --json ({exc})") from exc
        rows.append(_checked(row, where))
    return rows


def field(row: Mapping[str, Any], name: str, is_right: Callable[[Any], bool], expected: str, where: str) -> Any:
    """The value of a field, checked.

    Args:
        row: holds the field.
        name: the field's.
        is_right: whether a value will do.
        expected: what a right value is, in words.
        where: the file and line, to begin the message with.

    Raises:
        UsageError: the field is missing or `is_right` says no.
    """
    if name not in row:
        raise UsageError(f"{where}: {name!r} is missing: {MEASURE_AGAIN}")
    if not is_right(value := row[name]):
        raise UsageError(f"{where}: expected {name!r} to be {expected}. Received: {short(value)}")
    return value


def short(value: object) -> str:
    """A value as one short line that any terminal takes."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def is_text(value: object) -> bool:
    """Whether a value is text on one line, without control characters."""
    return isinstance(value, str) and value.isprintable() and bool(value)


def is_object(value: object) -> bool:
    """Whether a value is a JSON object."""
    return isinstance(value, dict)


def is_count(value: object) -> bool:
    """Whether a value is a whole number above 0."""
    return type(value) is int and value > 0  # type: a bool is an int


def _parse(line: bytes) -> dict[str, Any]:
    try:
        text = line.decode()
        row = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        if "\\ud" in text.lower():  # half of a character, written as an escape, cannot be encoded
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeError as exc:
        raise ValueError("not UTF-8") from exc
    except RecursionError as exc:
        raise ValueError("nested too deep") from exc
    except json.JSONDecodeError as exc:
        raise ValueError(exc.msg) from exc
    if not isinstance(row, dict):
        raise ValueError(f"expected an object. Received: {short(row)}")
    return row


def _schema_of_document(data: bytes) -> object:
    """The schema of what is one JSON document over many lines, as earlier versions wrote; None if it is not that."""
    try:
        return _parse(data).get("schema")
    except ValueError:
        return None


def _checked(row: dict[str, Any], where: str) -> dict[str, Any]:
    if "schema" not in row:
        raise UsageError(f"{where}: 'schema' is missing: no row of quietframe bench --json")
    if row["schema"] != SCHEMA or type(row["schema"]) is not int:
        raise _other_schema(where, row["schema"])
    for name in ("kind", "finished_utc"):
        field(row, name, is_text, "text", where)
    for name in ("settings", "machine", "versions"):
        field(row, name, is_object, "an object", where)
    for name in ("model", "commit"):
        field(row, name, lambda value: value is None or is_object(value), "an object or null", where)
    for name in ("file", "sha256"):
        if row["model"] is not None:
            field(row["model"], name, is_text, "text", f"{where}: model")
    if row["commit"] is not None:
        field(row["commit"], "sha", is_text, "text", f"{where}: commit")
        field(row["commit"], "dirty", lambda value: isinstance(value, bool), "true or false", f"{where}: commit")
    return row


def _other_schema(where: str, schema: object) -> UsageError:
    return UsageError(f"{where}: holds schema {short(schema)}, and schema {SCHEMA} was expected: {MEASURE_AGAIN}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:_SHOWN]} is too large")
    return number

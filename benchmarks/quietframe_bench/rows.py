"""Rows: typed records that describe themselves, one JSON object on each line of a file.

Rows of several runs and kinds may stand in one file. A kind adds its fields to `Row`; msgspec reads, checks and writes
them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

import msgspec
import numpy as np
from msgspec import Meta, Struct

from quietframe.commit import describe_commit
from quietframe.errors import SourceError, UsageError
from quietframe_bench.machine import describe_machine, describe_versions

Text = Annotated[str, Meta(min_length=1, pattern="\\A[^\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e]+\\Z")]
"""Text on one line, without control characters: any terminal takes it."""
Count = Annotated[int, Meta(gt=0)]
Time = Annotated[int, Meta(ge=0, lt=2**53)]
"""Nanoseconds, up to 104 days: floats hold them exactly."""
TotalTime = Annotated[int, Meta(gt=0, lt=2**53)]
SizeWh = tuple[Count, Count]
"""(width, height) in pixels."""

_SHOWN = 60  # characters of a differing value that a message repeats


class ModelFile(Struct):
    """Name, size and SHA-256 of a model file, the files beside it that hold its weights included."""

    file: Text
    sha256: Text
    file_bytes: int = 0

    @classmethod
    def read(cls, path: Path) -> ModelFile:
        """Describe a file."""
        contents = [file.read_bytes() for file in [path, *_weights_of(path)]]
        return cls(path.name, hashlib.sha256(b"".join(contents)).hexdigest(), sum(map(len, contents)))


def _weights_of(path: Path) -> list[Path]:
    """Return the files beside an OpenVINO or ONNX model that hold its weights; none of what is no such model."""
    names = {path.with_suffix(".bin").name} if path.suffix.lower() == ".xml" else set()
    if path.suffix.lower() == ".onnx":
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

        with suppress(DecodeError):
            tensors = onnx.load(path, load_external_data=False).graph.initializer
            names = {entry.value for one in tensors for entry in one.external_data if entry.key == "location"}
    return [file for name in sorted(names) if (file := path.parent / Path(name).name).is_file()]


class Commit(Struct):
    """The commit of the code that measured, and whether its checkout had changes."""

    sha: Text
    dirty: bool


class Row(Struct, kw_only=True, tag_field="kind"):
    """What rows of all kinds hold.

    Attributes:
        schema: the version of the rows that are written and read.
        finished_utc: when the row was finished.
        model: the model file; None for what is no model.
        settings: every setting of the run.
        machine: the machine at the start of the run, see `describe_machine`.
        versions: of Python and the packages that took part.
        commit: of the code; None where that is unknown.
        error: why the row failed; None if it did not.
    """

    schema: Literal[4]
    finished_utc: Text
    model: ModelFile | None
    settings: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    commit: Commit | None
    error: str | None = None

    @property
    def kind(self) -> str:
        """The kind of measurement."""
        return str(type(self).__struct_config__.tag)

    @property
    def file(self) -> str:
        """The model's file name; empty for what is no model."""
        return self.model.file if self.model else ""

    @property
    def sha256(self) -> str | None:
        """The hash of the model's file."""
        return self.model.sha256 if self.model else None

    def failures(self) -> list[str]:
        """Say what failed, one line for each thing."""
        return [named_failure(self.file or self.kind, self.error)] if self.error else []

    def messages(self) -> Iterable[str]:
        """Yield what is to be said on standard error beside failures."""
        return ()


class ModelRow(Row, kw_only=True):
    """A row with a model's metadata: None for what is no model, and where it failed before that was known."""

    name: Text | None = None
    precision: Text | None = None
    engine: Text | None = None
    task: Text | None = None
    parameters: int | None = None
    macs_per_pixel: float | None = None
    conditioning: str | None = None


FACTS = tuple(ModelRow.__annotations__)
"""The metadata of a model that rows hold."""


class SizedRow(ModelRow, kw_only=True):
    """A row of one model at one frame size with one number of threads; None where it failed before that was known."""

    size_wh: SizeWh | None = None
    threads: Count | None = None

    @property
    def file(self) -> str:
        """The model's file name, or what a classical method is called."""
        return super().file or self.name or ""

    @property
    def size(self) -> str:
        """The frame size as people write it."""
        return f"{self.size_wh[0]}×{self.size_wh[1]}" if self.size_wh else ""

    @property
    def label(self) -> str:
        """The model, the size and the threads in a few words."""
        if self.size_wh is None or self.threads is None:
            return self.file
        return f"{self.file} {self.size}, {self.threads} thread{'s' * (self.threads > 1)}"


class StageTimes(Struct, kw_only=True):
    """Raw times of each stage of timed frames, in nanoseconds. See `quietframe_bench.subject.Stopwatch`."""

    pre: list[Time] = msgspec.field(default_factory=list)
    engine: list[Time] = msgspec.field(default_factory=list)
    post: list[Time] = msgspec.field(default_factory=list)
    total: list[TotalTime] = msgspec.field(default_factory=list)

    def extend(self, stages_ns: Mapping[str, list[int]]) -> None:
        """Append times by stage."""
        for stage, times in stages_ns.items():
            getattr(self, stage).extend(times)


AnyRow = TypeVar("AnyRow", bound=Row)


class Run:
    """The circumstances of a run, noted when it begins; makes its rows.

    settings: a dataclass or mapping with every setting; paths are written as their names.
    """

    def __init__(self, settings: Any, **more: Any) -> None:
        self.settings: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=lambda path: path.name) | more
        self.machine = describe_machine()
        self.versions = describe_versions()
        commit = describe_commit()
        self.commit = msgspec.convert(commit, Commit) if commit else None

    def row(self, row_type: type[AnyRow], model: Path | None, **fields: Any) -> AnyRow:
        """Make a row of this run."""
        return row_type(
            schema=4,
            finished_utc=utc_now(),
            model=ModelFile.read(model) if model else None,
            settings=self.settings,
            machine=self.machine,
            versions=self.versions,
            commit=self.commit,
            **fields,
        )


def measured_on(row: Row) -> dict[str, Any]:
    """Return what a row was measured on; what is unknown is left out."""
    commit = row.commit and row.commit.sha[:10] + " with changes" * row.commit.dirty
    facts = row.machine | row.versions | {"commit": commit}
    return {name.replace("_", " "): value for name, value in facts.items() if value is not None}


def set_fields(row: Row, fields: Mapping[str, Any]) -> None:
    """Set fields of a row by name."""
    for name, value in fields.items():
        setattr(row, name, value)


def utc_now() -> str:
    """Return the time, as rows hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def p50_ms(samples_ns: Sequence[int]) -> float | None:
    """Return the median of times in milliseconds; None without times."""
    return float(np.median(samples_ns)) / 1e6 if samples_ns else None


def named_failure(name: str, error: str) -> str:
    """Return an error with the name of what failed in it, once."""
    return error if name in error else f"{name}: {error}"


def short(value: object) -> str:
    """Return a value as one short line that any terminal takes."""
    if value is None:
        return "none"
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def differences(old: Mapping[str, Any], new: Mapping[str, Any], names: Collection[str]) -> str:
    """Return `name OLD, NEW` for each of the names whose value differs."""
    in_order = names if isinstance(names, tuple) else sorted(names)
    differ = [name for name in in_order if old.get(name) != new.get(name)]
    return "; ".join(f"{name} {short(old.get(name))}, {short(new.get(name))}" for name in differ)


def to_lines(rows: Sequence[Row]) -> bytes:
    """Return rows as JSON Lines."""
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def read_rows(path: str | Path, row_types: Sequence[type[Row]]) -> list[tuple[int, Row]]:
    """Read the rows of a file, which are of some types, with their line numbers, in order.

    Raises SourceError if the file cannot be read or is empty, UsageError for what is no row of this schema, or has a
    field that is missing or ill-typed; the message names the line.
    """
    try:
        data = Path(path).read_bytes()  # in one go: it may be a pipe
    except (OSError, ValueError) as exc:  # ValueError: no path at all
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise SourceError(f"{path}: cannot be read ({reason})") from exc
    if not data.strip():
        raise SourceError(f"{path}: the file is empty: quietframe bench speed --out FILE writes one")
    decoder = msgspec.json.Decoder(Union[tuple(row_types)])  # noqa: UP007  the types are known when it runs
    rows = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):  # texts may hold other line ends
        try:
            rows.append((number, decoder.decode(line)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            reason = " ".join(str(exc).split())[:300]
            raise UsageError(
                f"{path}: line {number}: {reason}: not a whole row, schema 4, of quietframe bench: measure again"
            ) from exc
    return rows

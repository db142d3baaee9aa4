"""The file of `quietframe serve`: read with TOML's own types, each key validated by what it is for."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import time
from pathlib import Path
from typing import Any, get_args, get_type_hints

from quietframe.controls import Controls, Settings
from quietframe.errors import QuietFrameError, UsageError
from quietframe.pipeline import PipelineConfig
from quietframe.pipeline.models import AUTO
from quietframe.preview import DEFAULT_ADDRESS, Server
from quietframe.sinks import HEEDED_BY, NULL, STDOUT, SinkOptions, check_output
from quietframe.sources import check_source
from quietframe.sources.address import as_shown, is_network
from quietframe.sources.stdin import STDIN
from quietframe.zoo import ALIASES, find_model

_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_BARE_KEY = re.compile("[A-Za-z0-9_-]+")
_NOT_FOR_CAMERAS = (
    *("fps", "drop_frames", "max_frames", "show"),  # another model than is named, old frames, an end, a window
    *("to_8bit", "skip_existing", "image_format", "strip_metadata"),  # for images
)
_PIPELINE_KEYS = tuple(field.name for field in fields(PipelineConfig) if field.name not in _NOT_FOR_CAMERAS)
_SHARED_KEYS = ("model", "outputs", "schedule", *_PIPELINE_KEYS)
_CHANGES = tuple(field.name for field in fields(Settings))
_TEXTS = {name for name, hint in get_type_hints(PipelineConfig).items() if str in get_args(hint)}

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Period:
    """A part of every day, in local time, and what is changed for it.

    Attributes:
        begin, end: from `begin` up to `end`, over midnight where that is earlier.
        changes: as of `Controls.change`.
    """

    begin: time
    end: time
    changes: Mapping[str, Any]

    def holds(self, now: time) -> bool:
        """Return whether a time of the day lies in it."""
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end


@dataclass(frozen=True)
class CameraConfig:
    """One camera.

    Attributes:
        name: in addresses, messages, metrics and names of files.
        source: as of `open_source`.
        model: a name or file, several with commas between, or `auto`.
        outputs: as of `open_sink`, with `{time}` for when it is opened.
        schedule: what changes at which time; the first period that holds counts.
        pipeline: all other settings.
    """

    name: str
    source: str
    model: str
    outputs: tuple[str, ...]
    schedule: tuple[Period, ...]
    pipeline: PipelineConfig

    def settings(self, period: Period | None) -> dict[str, Any]:
        """Return what the controls stand at in a period of the schedule, or out of all."""
        settings = {"strength": float(self.pipeline.strength), "model": _chosen(self.model), "paused": False}
        return {**settings, **(period.changes if period else {})}

    def __repr__(self) -> str:
        return f"<CameraConfig {self.name}: {as_shown(self.source)}>"


@dataclass(frozen=True)
class ServeConfig:
    """What `quietframe serve` runs.

    Attributes:
        cameras: at least one.
        address, token: as of `Server`.
        cores: how many cameras denoise at once; None: as many as there are physical cores.
    """

    cameras: tuple[CameraConfig, ...]
    address: str = DEFAULT_ADDRESS
    token: str | None = None
    cores: int | None = None


class _FaultError(Exception):
    """Something is wrong at a key."""

    def __init__(self, keys: Keys, why: str) -> None:
        super().__init__(why)
        self.keys = keys


def read_config(path: str | Path) -> ServeConfig:
    """Read and validate a file.

    Raises:
        UsageError: it cannot be read, or something in it is wrong: one line with the number of the line and the key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as exc:
        raise UsageError(f"{path}: cannot be read ({getattr(exc, 'strerror', None) or 'not UTF-8'})") from exc
    try:
        return _config(tomllib.loads(text))
    except tomllib.TOMLDecodeError as exc:
        what, _, where = str(exc).partition(" (at ")
        line = re.match(r"line (\d+)", where)
        number = line[1] if line else text.count("\n") + 1
        raise UsageError(f"{path}:{number}: not TOML: {what}") from exc
    except _FaultError as exc:
        key = ".".join(key if _BARE_KEY.fullmatch(key) else repr(key) for key in exc.keys if isinstance(key, str))
        raise UsageError(f"{path}:{line_of(text, exc.keys)}: {f'{key}: ' if key else ''}{exc}") from exc


def line_of(text: str, keys: Keys) -> int:
    """Return the line of a TOML text, from 1, on which what is at a path of keys begins, or the table that lacks it.

    TOML's own parser says so: it is the statement with which the path is there. keys: names, and numbers in arrays.
    """
    lines = text.split("\n")
    for length in range(len(keys), 0, -1):
        start = 0
        for end in range(1, len(lines) + 1):
            try:
                values: Any = tomllib.loads("\n".join(lines[:end]))
            except tomllib.TOMLDecodeError:  # within a statement of several lines
                continue
            if _is_in(values, keys[:length]):
                return next(n for n in range(start, end) if lines[n].strip() and lines[n].strip()[0] != "#") + 1
            start = end
    return 1


def _is_in(values: Any, keys: Keys) -> bool:
    for key in keys:
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _config(values: Mapping[str, Any]) -> ServeConfig:
    _check_keys(values, ("server", "defaults", "camera"), ())
    server = _table(values.get("server", {}), ("server",), ("address", "token_file", "cores"))
    address = _text(server.get("address", DEFAULT_ADDRESS), ("server", "address"))
    token = None
    if "token_file" in server:
        file = Path(_text(server["token_file"], ("server", "token_file")))
        try:
            token = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as exc:
            reason = getattr(exc, "strerror", None) or "not ASCII"
            raise _FaultError(("server", "token_file"), f"{file}: cannot be read ({reason})") from exc
    with _at(("server", "address")):
        Server(address)
    with _at(("server", "token_file")):
        Server(address, token=token)
    cores = server.get("cores")
    if cores is not None and (type(cores) is not int or cores < 1):
        raise _FaultError(("server", "cores"), f"Expected a whole number of at least 1. Received: {cores!r}")
    defaults = _table(values.get("defaults", {}), ("defaults",), _SHARED_KEYS)
    tables = values.get("camera", [])
    if not isinstance(tables, list) or not tables:
        raise _FaultError(("camera",), "Expected at least one table [[camera]]")
    cameras = [_camera(table, ("camera", number), defaults) for number, table in enumerate(tables)]
    _check_twice(cameras)
    return ServeConfig(tuple(cameras), address, token, cores)


def _camera(given: Any, keys: Keys, defaults: Mapping[str, Any]) -> CameraConfig:
    table = _table(given, keys, ("name", "source", *_SHARED_KEYS))
    values = {**defaults, **table}

    def at(key: str) -> Keys:
        return (*keys, key) if key in table else ("defaults", key)

    for key in ("name", "source"):
        if key not in table:
            raise _FaultError((*keys, key), "is missing")
        _text(table[key], (*keys, key))
    name, source = table["name"], table["source"]
    if not _NAME.fullmatch(name):
        why = "Expected up to 64 letters, digits, - and _, the first a letter or digit"
        raise _FaultError((*keys, "name"), f"{why}. Received: {name!r}")
    if STDIN.matches(source):
        raise _FaultError((*keys, "source"), "standard input cannot be opened again: name a camera or an address")
    with _at((*keys, "source")):
        check_source(source)
    outputs = tuple(
        _place(text, name, values, at("outputs")) for text in _texts(values.get("outputs", []), at("outputs"))
    )
    config = _pipeline_config(table, values, outputs, at)
    model = ",".join(_models(values.get("model", "camera" if config.single_frame else "video"), at("model")))
    schedule = values.get("schedule", [])
    if not isinstance(schedule, list):
        raise _FaultError(at("schedule"), "Expected tables with from, to and what changes")
    periods = tuple(_period(each, (*at("schedule"), number)) for number, each in enumerate(schedule))
    models = {_chosen(model), *(period.changes.get("model", _chosen(model)) for period in periods)}
    if config.card and ("model" not in values or AUTO in models or len(models) > 1):
        raise _FaultError(at("card"), "describes one model: name one with model")
    return CameraConfig(name, source, model, outputs, periods, config)


def _pipeline_config(
    table: Mapping[str, Any], values: Mapping[str, Any], outputs: Sequence[str], at: Callable[[str], Keys]
) -> PipelineConfig:
    """Return a camera's settings. table: its own values. values: with the defaults for all cameras."""
    given = {key: values[key] for key in _PIPELINE_KEYS if key in values}
    for key, value in given.items():
        if key in _TEXTS:
            _text(value, at(key))
        with _at(at(key)):
            PipelineConfig(**{key: value})
            if key == "strength":  # which the controls bound
                Controls(Settings(), ()).change(strength=value)
    if "stats_file" in given:
        given["stats_file"] = _place(given["stats_file"], table["name"], values, at("stats_file"))
    with _at(at("encoder")):
        options = SinkOptions(**{key: given[key] for key in ("codec", "encoder", "crf") if key in given})
    with _at(at("outputs")):
        heeded = {key for place in outputs for key in check_output(place, options)}
    for key in given.keys() & HEEDED_BY.keys() - heeded:
        if key in table:
            raise _FaultError(at(key), f"is for {HEEDED_BY[key]}, and no output is one")
        del given[key]  # it is for the other cameras
    return PipelineConfig(**{"threads": 1, **given})


def _period(given: Any, keys: Keys) -> Period:
    table = _table(given, keys, ("from", "to", *_CHANGES))
    times = []
    for key in ("from", "to"):
        if key not in table:
            raise _FaultError((*keys, key), "is missing")
        try:
            at = table[key] if isinstance(table[key], time) else time.fromisoformat(table[key])
        except (TypeError, ValueError):
            at = None
        if at is None or at.tzinfo:
            raise _FaultError((*keys, key), f'Expected a local time such as "18:30". Received: {table[key]!r}')
        times.append(at)
    if times[0] == times[1]:
        raise _FaultError((*keys, "to"), "Expected another time than from")
    changes = {key: table[key] for key in _CHANGES if key in table}
    if not changes:
        raise _FaultError(keys, f"changes nothing: expected any of {', '.join(_CHANGES)}")
    if "model" in changes:
        models = _models(changes["model"], (*keys, "model"))
        if len(models) > 1:
            raise _FaultError((*keys, "model"), f"Expected one model, or auto. Received: {', '.join(models)}")
        changes["model"] = _chosen(models[0])
    for key, value in changes.items():
        with _at((*keys, key)):
            Controls(Settings(), [changes.get("model", "")]).change(**{key: value})
    return Period(times[0], times[1], changes)


def _models(value: Any, keys: Keys) -> list[str]:
    names = [name.strip() for text in _texts(value, keys) for name in text.split(",")]
    if not names or not all(names):
        raise _FaultError(keys, f"Expected a model, or several with commas between. Received: {value!r}")
    if AUTO in names and len(names) > 1:
        raise _FaultError(keys, f"{AUTO} chooses among the built-in models: name it alone")
    for name in names:
        if name != AUTO:
            with _at(keys):
                find_model(name)
    return names


def _chosen(model: str) -> str:
    """Return the name under which the controls know a camera's model, or models."""
    return AUTO if "," in model else ALIASES.get(model, model)


def _place(text: str, name: str, values: Mapping[str, Any], keys: Keys) -> str:
    """Return a place for results, with the camera's name put in."""
    if unknown := re.search(r"{(?!(name|time)})\w*}", text):
        raise _FaultError(keys, f"{unknown[0]} stands for nothing: expected {{name}} or {{time}}")
    if text == STDOUT:
        raise _FaultError(keys, "standard output cannot be shared: name a file or an address")
    if not is_network(text) and text != NULL and "{time}" not in text and not values.get("overwrite"):
        why = "a camera that comes back begins a new file: put {time} into its name, or set overwrite = true"
        raise _FaultError(keys, f"{why}. Received: {text!r}")
    return text.replace("{name}", name)


def _check_twice(cameras: Sequence[CameraConfig]) -> None:
    names: set[str] = set()
    writers: dict[str, str] = {}
    for number, camera in enumerate(cameras):
        if camera.name.lower() in names:
            raise _FaultError(("camera", number, "name"), f"{camera.name!r} is there already")
        names.add(camera.name.lower())
        places = [("outputs", output) for output in camera.outputs if output != NULL]
        if camera.pipeline.stats_file:
            places.append(("stats_file", str(camera.pipeline.stats_file)))
        for key, place in places:
            same = place if is_network(place) else os.path.realpath(place)
            if writer := writers.get(same):
                why = f"{as_shown(place)}: {writer} writes there already: put {{name}} into it"
                raise _FaultError(("camera", number, key), why)
            writers[same] = camera.name


def _table(value: Any, keys: Keys, known: Collection[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _FaultError(keys, f"Expected a table. Received: {type(value).__name__}")
    _check_keys(value, known, keys)
    return value


def _check_keys(table: Mapping[str, Any], known: Collection[str], keys: Keys) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            expected = f"did you mean {near[0]!r}?" if near else f"expected any of {', '.join(known)}"
            raise _FaultError((*keys, key), f"unknown key: {expected}")


def _text(value: Any, keys: Keys) -> str:
    if not isinstance(value, str) or not value:
        raise _FaultError(keys, f"Expected a text. Received: {value!r}")
    if not value.isprintable():
        raise _FaultError(keys, "Expected a text without control characters")
    if value.startswith("~/"):
        raise _FaultError(keys, f"~ is known to shells alone: name the folder in full. Received: {value!r}")
    return value


def _texts(value: Any, keys: Keys) -> list[str]:
    return [_text(each, keys) for each in (value if isinstance(value, list) else [value])]


@contextmanager
def _at(keys: Keys) -> Iterator[None]:
    """Name the key for errors of what validates it."""
    try:
        yield
    except QuietFrameError as exc:
        raise _FaultError(keys, str(exc)) from exc

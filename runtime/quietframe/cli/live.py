"""What `quietframe denoise` tells while a moving source runs, and how such a run is put together."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from quietframe.cli.terminal import json_line, say
from quietframe.errors import OutputError, UsageError

if TYPE_CHECKING:
    from quietframe.live.deadline import Step
    from quietframe.tasks import Denoiser

_STATS_EVERY_S = 1.0
_CLEAR_LINE = "\r\x1b[2K"


def model_names(model: str) -> list[str]:
    """The models that `--model` names: one, several with commas between, or for `auto` all built-in camera models.

    Raises UsageError where a name is empty.
    """
    from quietframe.live.models import AUTO
    from quietframe.zoo import ALIASES, camera_models

    names = camera_models() if model == AUTO else [name.strip() for name in model.split(",")]
    names = [ALIASES.get(name, name) for name in names]
    if not all(names):
        raise UsageError(f"--model: expected a name, or names with commas between. Received: {model!r}")
    return list(dict.fromkeys(names))


def openers(
    names: Sequence[str], others: Sequence[str], open_model: Callable[[str], Denoiser]
) -> Mapping[str, Callable[[], Denoiser]]:
    """What gives each model: those in `names` are loaded now, so that what is wrong with one is said before anything
    runs; `others` when they are chosen.
    """
    loaded = {name: open_model(name) for name in names}

    def opener(name: str) -> Callable[[], Denoiser]:
        return lambda: loaded[name] if name in loaded else open_model(name)

    return {name: opener(name) for name in (*names, *others)}


def say_step(step: Step) -> None:
    """Tell which model the deadline chose, and why."""
    clear_status()
    say(f"{step.model}: {step.why}")


class Status:
    """Tells how a run goes: a line on a terminal, refreshed; a line a second in a file; and a stream's troubles.

    Args:
        record: the state, as `Live.record` gives it.
        stats_file: takes the state as JSON, a line a second; or None.
        on_terminal: show the line, if this is a terminal.
    """

    def __init__(
        self, record: Callable[[], Mapping[str, Any]], stats_file: TextIO | None, *, on_terminal: bool
    ) -> None:
        self._record, self._file = record, stats_file
        self._on_terminal = on_terminal and sys.stderr.isatty()
        self._next_s = time.monotonic()
        self._trouble: str | None = None

    def tick(self) -> None:
        """Tell what is due. Called several times a second."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + _STATS_EVERY_S
        record = self._record()
        if record["trouble"] != self._trouble:
            self._trouble = record["trouble"]
            clear_status()
            say(f"warning: {self._trouble}" if self._trouble else "frames come again")
        if self._on_terminal:
            sys.stderr.write(_CLEAR_LINE + status_line(record))
            sys.stderr.flush()
        if self._file:
            self._write(record)

    def finish(self) -> None:
        """The last line of the file; the terminal's goes away."""
        if self._on_terminal:
            clear_status()
        if self._file:
            self._write(self._record())

    def _write(self, record: Mapping[str, Any]) -> None:
        assert self._file is not None
        try:
            self._file.write(json_line({"time": round(time.time(), 3), **record}) + "\n")
            self._file.flush()
        except OSError as exc:
            say(f"error: {self._file.name}: cannot be written ({exc.strerror or exc}): no more statistics")
            self._file = None


def status_line(record: Mapping[str, Any]) -> str:
    """The state in a line of a terminal."""
    if record["paused"]:
        return "paused"
    if record["age_p50_ms"] is None:
        return "waiting for the first frame"
    parts = [
        f"{record['fps']:.1f} fps",
        f"age {record['age_p50_ms']:.0f} ms (p95 {record['age_p95_ms']:.0f})",
        f"{record['processed']} frames",
        f"{record['dropped']} dropped",
        str(record["model"]),
    ]
    if record["sigma_255"] is not None:
        parts.append(f"noise {record['sigma_255']:.1f}")
    return " · ".join(parts)


def clear_status() -> None:
    """Make room for a line that stays."""
    if sys.stderr.isatty():
        sys.stderr.write(_CLEAR_LINE)
        sys.stderr.flush()


@contextlib.contextmanager
def stats_writer(path: str | None, *, overwrite: bool) -> Iterator[TextIO | None]:
    """The file for `--json-stats`, open; None where none is wanted. Raises OutputError."""
    from quietframe.sinks.base import check_targets

    if path is None:
        yield None
        return
    check_targets([Path(path)], [], overwrite=overwrite)
    try:
        file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115  closed below
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written ({exc.strerror or exc})") from exc
    with file:
        yield file


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C, or SIGTERM as from a service's manager, call `stop`; the second of them interrupts at once.

    What is ignored, as Ctrl-C in a job in the background, stays so.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    earlier = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}

    def first(_number: int, _frame: Any) -> None:
        for number in earlier:
            signal.signal(number, signal.default_int_handler)
        stop()

    for number in earlier:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)

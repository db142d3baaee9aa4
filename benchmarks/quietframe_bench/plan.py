"""What is measured: model files, the grid of sizes and threads; what fails, and progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from quietframe.errors import QuietFrameError, UsageError
from quietframe_bench.process import Child, ChildError
from quietframe_bench.rows import Row, Run, SizedRow, utc_now

AnySizedRow = TypeVar("AnySizedRow", bound=SizedRow)

OnStep = Callable[[str, int, int], None]
"""Called with (what, step, steps) as a measurement goes on."""


def counted(on_step: OnStep, steps: int) -> Callable[[str], None]:
    """Return a function that counts the steps itself: it takes what is done."""
    numbers = iter(range(steps))
    return lambda text: on_step(text, next(numbers, steps), steps)


def ignore_step(_text: str, _step: int, _steps: int) -> None:
    """Show no progress."""


@contextmanager
def failing(row: Row) -> Iterator[None]:
    """Note in a row when its measuring ends, and why it fails, in place of a crash."""
    try:
        yield
    except QuietFrameError as exc:
        row.error = str(exc)
    finally:
        row.finished_utc = utc_now()


def find_models(models: Sequence[str | Path], *, frames: bool = False) -> list[Path]:
    """Return the files of models; without any, of all built-in ones (`frames`: those for frames of any size)."""
    from quietframe.zoo import builtin_models, find_model

    if models:
        return [find_model(str(model)) for model in models]
    found = [path for path in builtin_models().values() if not frames or denoises_frames(path)]
    if not found:
        raise UsageError("there are no built-in models to measure: name a model file")
    return found


def denoises_frames(path: Path) -> bool:
    """Return whether a model denoises frames of any size."""
    from quietframe.tasks.base import open_model
    from quietframe.tasks.fit import is_resized

    card = open_model(path)[1]
    return "denoise" in card.task.split("+") and not is_resized(card.spatial)


def plan_rows(
    run: Run,
    row_type: type[AnySizedRow],
    paths: Iterable[Path],
    sizes_wh: Sequence[tuple[int, int]],
    threads: Sequence[int],
) -> list[tuple[Path, AnySizedRow]]:
    """Make a row for each model, size (width, height) and number of threads: a model of a fixed size runs at that one.

    A model that cannot be opened gives one row with its error.
    """
    rows: list[tuple[Path, AnySizedRow]] = []
    for path in paths:
        try:
            with Child() as child:
                facts = child.call("subject:describe", model=path)
        except ChildError as exc:
            rows.append((path, run.row(row_type, path, error=str(exc))))
            continue
        own_wh = facts.pop("own_size_wh")
        grid = [(size_wh, count) for size_wh in ([tuple(own_wh)] if own_wh else sizes_wh) for count in threads]
        rows += [(path, run.row(row_type, path, size_wh=size_wh, threads=count, **facts)) for size_wh, count in grid]
    return rows

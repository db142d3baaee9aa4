"""What is measured: model files, the grid of sizes and threads, and progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from quietframe.cpu import physical_cores
from quietframe.errors import UsageError
from quietframe_bench.machine import is_busy
from quietframe_bench.process import Child, ChildError
from quietframe_bench.rows import Run, SizedRow

AnySizedRow = TypeVar("AnySizedRow", bound=SizedRow)

OnStep = Callable[[str, int, int], None]
"""Called with (what, step, steps) as a measurement goes on."""

FACTS = ("name", "precision", "engine", "task", "parameters", "macs_per_pixel", "conditioning")
"""The metadata of a model that rows hold."""


def counted(on_step: OnStep, steps: int) -> Callable[[str], None]:
    """Return a function that counts the steps itself: it takes what is done."""
    numbers = iter(range(steps))
    return lambda text: on_step(text, next(numbers), steps)


def ignore_step(_text: str, _step: int, _steps: int) -> None:
    """Show no progress."""


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


def describe_model(child: Child, model: Path) -> dict[str, Any]:
    """Return a model's metadata, as rows hold it, and `own_size_wh`. Raises ChildError if it cannot be opened."""
    facts: dict[str, Any] = child.call("subject:describe", model=model)
    return facts


def describe_denoiser(child: Child, model: Path) -> dict[str, Any]:
    """Return a denoiser's metadata, as rows hold it. Raises ChildError if it cannot be opened or does not denoise."""
    facts = describe_model(child, model)
    if "denoise" not in facts["task"].split("+"):
        raise ChildError(f"this model does {facts['task']}, not denoise")
    return {name: facts[name] for name in FACTS}


def plan_rows(
    run: Run, row_type: type[AnySizedRow], model: Path, sizes_wh: Sequence[tuple[int, int]], threads: Sequence[int]
) -> list[AnySizedRow]:
    """Make a row for each size (width, height) and number of threads: a model of a fixed size runs at that one alone.

    A model that cannot be opened gives one row with its error.
    """
    try:
        with Child() as child:
            facts = describe_model(child, model)
    except ChildError as exc:
        return [run.row(row_type, model, error=str(exc))]
    own_wh = facts.pop("own_size_wh")
    sizes = ((own_wh[0], own_wh[1]),) if own_wh else sizes_wh
    return [run.row(row_type, model, size_wh=size_wh, threads=count, **facts) for size_wh in sizes for count in threads]


def all_cores() -> tuple[int, ...]:
    """Return the number of threads that is measured by default."""
    return (physical_cores(),)


def busy_warning(machine: Mapping[str, Any]) -> str | None:
    """Return a warning where a machine, as described, has so much else to do that times come out too long."""
    return f"the machine is busy (load {machine['load_1min']}): times will be too long" if is_busy(machine) else None


@contextmanager
def progress_bar() -> Iterator[OnStep]:
    """Show a progress bar on standard error, on a terminal only."""
    from rich.console import Console

    from quietframe.cli.terminal import progress_bar as make_bar

    with make_bar(Console(stderr=True)) as progress:
        bar = progress.add_task("")
        yield lambda text, step, steps: progress.update(bar, description=text, completed=step, total=steps)

"""What a training is to do, checked before Keras is loaded: options, run folder, data and where it starts from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from quietframe.errors import SourceError, UsageError
from quietframe_train import run_folder
from quietframe_train.data.base import Splits
from quietframe_train.recipe import Recipe
from quietframe_train.recipes import find_recipe
from quietframe_train.run_folder import Run, load_run, state_path, weights_path
from quietframe_train.weights import Start, find_start

_LOG = logging.getLogger("quietframe_train")
_NAMED = 20  # unreadable files named in the log; metrics.json has all


@dataclass(frozen=True)
class Options:
    """What `train` can be asked for beside the recipe: see there."""

    data: str | Path | None = None
    out: str | Path | None = None
    epochs: int | None = None
    limit: int | None = None
    seed: int | None = None
    resume: bool = False
    data_name: str | None = None
    data_terms: str | None = None
    compute: str | None = None
    start_from: str | Path | None = None
    from_phase: str | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        epochs, limit, seed, workers = self.epochs, self.limit, self.seed, self.workers
        least = ((epochs, 1), (seed, 0), (limit, 2), (workers, 1))
        if any(value is not None and value < minimum for value, minimum in least):
            raise UsageError(
                "Expected epochs ≥ 1, seed ≥ 0, limit ≥ 2, workers ≥ 1. "
                f"Received: {epochs=}, {seed=}, {limit=}, {workers=}"
            )

    def as_before(self, earlier: Run) -> Options:
        """Fill in what a resumed training was begun with and is not asked for again."""
        phases = earlier.recipe.phases
        return replace(
            self,
            data=self.data or earlier.data_path,
            limit=self.limit or earlier.limit,
            seed=earlier.seed if self.seed is None else self.seed,
            data_name=self.data_name or earlier.data.name,
            data_terms=self.data_terms or earlier.data.terms,
            compute=self.compute or earlier.recipe.dtype_policy,
            epochs=self.epochs or (phases[0].epochs if phases else None),
            from_phase=self.from_phase or (phases[0].name if phases else None),
        )


@dataclass(frozen=True)
class Plan:
    """A training that may begin.

    Attributes:
        run: what is to be done, but for the versions.
        splits: the data.
        options: those that were given or, resumed, begun with.
        start: the weights it begins with; None: random ones, or those of the state it resumes.
        earlier: what the folder says, where a training is resumed.
        parts: of a composed recipe, the finished trainings of its parts; None for those that are to be trained.
    """

    run: Run
    splits: Splits
    options: Options
    start: Start | None
    earlier: Run | None
    parts: Sequence[Run | None]


def make_plan(recipe: str | Recipe, options: Options) -> Plan:
    """Check what a training is asked to do, and read its data. Writes nothing. Errors as of `train`."""
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    folder = Path(options.out) if options.out is not None else Path("runs", recipe.name)
    run_folder.check_folder(folder, resume=options.resume)
    earlier = load_run(folder) if options.resume else None
    options = options.as_before(earlier) if earlier else options
    recipe = _as_asked(recipe, options, resumes=earlier is not None)
    start = _start(recipe, folder, options, earlier)
    parts = find_parts(recipe, folder)
    seed = options.seed or 0
    splits = recipe.data.load(options.data, recipe, seed=seed, limit=options.limit)
    _log_skipped(splits.unreadable)
    recipe = recipe.data.fit_to(recipe, splits)
    terms = recipe.data.describe(splits, options.data, options.data_name, options.data_terms)
    run = Run(
        folder=folder,
        recipe=recipe,
        seed=seed,
        limit=options.limit,
        data_path=None if options.data is None else Path(options.data).resolve(),
        data=start.with_its_data(terms) if start and not earlier else terms,
        data_sha256=splits.sha256,
        versions={},
        created=earlier.created if earlier else datetime.now(UTC).isoformat(timespec="seconds"),
        started_from=start.identity if start else earlier.started_from if earlier else "",
        classes=splits.classes if "classify" in recipe.task else (),
    )
    if earlier:
        run_folder.check_same(earlier, run)
    return Plan(run, splits, options, start, earlier, parts)


def _as_asked(recipe: Recipe, options: Options, *, resumes: bool) -> Recipe:
    """Override what the options say of a recipe."""
    recipe = replace(recipe, dtype_policy=options.compute or recipe.dtype_policy)
    if recipe.parts and (options.epochs or options.start_from or options.from_phase):
        composed = f"{recipe.name} is composed of {' and '.join(recipe.parts)}"
        raise UsageError(f"{composed}: pass --epochs, --start-from and --from-phase to those")
    if options.from_phase:
        first = recipe.phases[:1]
        recipe = recipe.from_phase(options.from_phase)
        if recipe.phases[:1] != first and not (options.start_from or resumes):
            phase = options.from_phase
            raise UsageError(f"phase {phase} goes on with the weights of those before: pass --start-from, too")
    return recipe.with_epochs(options.epochs) if options.epochs else recipe


def _start(recipe: Recipe, folder: Path, options: Options, earlier: Run | None) -> Start | None:
    """Find the weights that a training begins with."""
    path = options.start_from
    if recipe.starts_from and path is None and not earlier:
        beside = folder.parent / recipe.starts_from
        path = beside if (beside / run_folder.MODEL).is_file() else recipe.starts_from
    if path is None and earlier and earlier.started_from and not _is_begun(recipe, folder):
        raise UsageError(f"{folder}: kept nothing of its start yet: pass --start-from again ({earlier.started_from})")
    return None if path is None else find_start(path)


def _is_begun(recipe: Recipe, folder: Path) -> bool:
    """Return whether the folder and those of all folds keep an epoch at least: a resume then needs no start."""
    folders = [folder, *(run_folder.fold_path(folder, fold) for fold in recipe.data.other_folds())]
    first = recipe.phases[0].name
    return all(weights_path(each, first).is_file() or state_path(each, first).is_file() for each in folders)


def find_parts(recipe: Recipe, folder: Path) -> list[Run | None]:
    """Find the finished trainings of a recipe's parts, beside the run folder of the whole; None for those missing.

    Raises SourceError for a part that has begun and is not done, and for a folder of its name that holds another
    training or none.
    """
    found: list[Run | None] = []
    for name in recipe.parts:
        beside = folder.parent / name
        run = load_run(beside) if beside.is_dir() and any(beside.iterdir()) else None
        if run and run.recipe.name != name:
            raise SourceError(f"{beside}: holds a training of {run.recipe.name}, expected one of {name}")
        if run and not run.metrics:
            command = f"quietframe train {name} --out {beside} --resume"
            raise SourceError(f"{beside}: its training is not done: go on with {command} first")
        found.append(run)
    return found


def _log_skipped(lines: Sequence[str]) -> None:
    for line in lines[:_NAMED]:
        _LOG.warning("skipped %s", line)
    if lines:
        more = f" ({len(lines) - _NAMED} of them not named here)" if len(lines) > _NAMED else ""
        _LOG.warning("%d files skipped%s", len(lines), more)

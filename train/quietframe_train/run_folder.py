"""The folder of one training: what it was asked to do, and what came of it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quietframe import __version__
from quietframe.camera import CameraProfile
from quietframe.card import DataTerms, Metric
from quietframe.commit import describe_commit
from quietframe.cpu import cpu_model
from quietframe.errors import OutputError, SourceError, UsageError
from quietframe.images import write_whole
from quietframe.serde import RecordError, from_record, to_record
from quietframe_train import corruption, recipe
from quietframe_train.augmentation import Augmentation
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.clips import ClipNoise
from quietframe_train.data.clips import ClipData
from quietframe_train.data.digits import DigitData
from quietframe_train.data.photos import PhotoData
from quietframe_train.data.pictures import PictureData
from quietframe_train.own_camera import OwnCameraNoise
from quietframe_train.recipe import Recipe

MODEL = "model.keras"
RECIPE = "recipe.json"
METRICS = "metrics.json"
HISTORY = "history.csv"
LOSS = "loss.png"
SAMPLES = "samples.png"

FORMAT = 2
"""Version of recipe.json. A file with another one is refused."""

_PROSE = frozenset({"summary", "source", "limits"})  # of a recipe; may be reworded without changing the training

_OF_RECIPES = (Recipe, recipe.Phase, recipe.ModelConfig, recipe.OptimizerConfig, recipe.EarlyStopping)
_SCHEDULES = (recipe.Constant, recipe.WarmupCosine)
_DATA = (DigitData, PhotoData, ClipData, PictureData, Augmentation, DataTerms)
_NOISES = (
    corruption.NoNoise,
    corruption.UniformNoise,
    corruption.NormalNoise,
    corruption.MixedNoise,
    CameraNoise,
    OwnCameraNoise,
    CameraProfile,
    ClipNoise,
)
KINDS = {kind.__name__: kind for kind in (*_OF_RECIPES, *_SCHEDULES, *_DATA, *_NOISES)}
"""The dataclasses that recipe.json may hold, by name."""

_NOT_WRITTEN = frozenset({"folder", "metrics"})  # of a run, in recipe.json


@dataclass(frozen=True)
class Run:
    """One training: what its folder says.

    Attributes:
        recipe: as it was trained, whatever the recipe of that name says today.
        limit: of training images; None: all of them.
        data_path: the data file or folder; None: MNIST through Keras.
        data_sha256: of what trained and validated.
        created: when the training began, ISO 8601.
        started_from: the file whose weights it began with, and its content; empty: it began with random ones.
        classes: the classes' names, in the order of the scores; empty where there are none.
        metrics: what metrics.json holds; empty until the training is done.
    """

    folder: Path
    recipe: Recipe
    seed: int
    limit: int | None
    data_path: Path | None
    data: DataTerms
    data_sha256: str
    versions: Mapping[str, str]
    created: str
    started_from: str = ""
    classes: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Count the epochs of all phases."""
        return self.recipe.epochs

    @property
    def measured(self) -> tuple[Metric, ...]:
        """Read what the trained model reached; empty until it is done. Raises SourceError if it is damaged."""
        try:
            return from_record(self.metrics.get("measured", []), tuple[Metric, ...], None, "measured")
        except RecordError as exc:
            raise SourceError(f"{self.folder / METRICS}: {exc}") from exc

    @property
    def model_path(self) -> Path:
        """Return the path of the trained Keras model."""
        return self.folder / MODEL


def weights_path(folder: Path, phase: str) -> Path:
    """Return where a finished phase leaves its weights."""
    return folder / f"{phase}.weights.h5"


def state_path(folder: Path, phase: str) -> Path:
    """Return where a phase in training keeps weights, optimizer (with step count and moving averages) and metrics."""
    return weights_path(folder, f"{phase}-state")


def best_path(folder: Path, phase: str) -> Path:
    """Return where a phase keeps the weights of its best epoch so far, if it restores them."""
    return weights_path(folder, f"{phase}-best")


def fold_path(folder: Path, fold: int) -> Path:
    """Return the folder of a further fold of a cross-validation."""
    return folder / f"fold-{fold + 1}"


def load_run(folder: str | Path) -> Run:
    """Read the folder of a training, finished or not.

    Raises SourceError: no such folder, no recipe.json in it, or one that this version cannot read.
    """
    folder = Path(folder)
    path = folder / RECIPE
    if not path.is_file():
        raise SourceError(f"{folder}: not a run folder of quietframe train (no {RECIPE} in it)")
    record = _read_object(path)
    if record.get("format") != FORMAT:
        raise SourceError(f"{path}: format {record.get('format')!r} is not known here (this version reads {FORMAT})")
    del record["format"]
    metrics = _read_object(folder / METRICS) if (folder / METRICS).is_file() else {}
    try:
        run = from_record(record | {"kind": "Run", "folder": str(folder)}, Run, KINDS | {"Run": Run}, "run")
    except RecordError as exc:
        raise SourceError(f"{path}: {exc}") from exc
    return replace(run, metrics=metrics)


def write_recipe(run: Run) -> None:
    """Write recipe.json: everything that is needed to repeat the training."""
    record = {key: value for key, value in to_record(run).items() if key not in _NOT_WRITTEN and key != "kind"}
    write_json(run.folder / RECIPE, {"format": FORMAT} | record)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write JSON for people and programs, whole or not at all."""
    write_whole(path, (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode())


def begin(run: Run) -> None:
    """Make the folder and write recipe.json, before the first step: a kill leaves what a resume needs.

    Raises OutputError if the folder takes no file.
    """
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{run.folder}: cannot be made ({exc.strerror or exc})") from exc
    write_recipe(run)


def check_folder(folder: Path, *, resume: bool) -> None:
    """Raise UsageError for a folder that a training must not begin in, or one with nothing to resume."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file, expected a folder for the training: choose another --out")
    if resume and not (folder / RECIPE).is_file():
        raise UsageError(f"{folder}: no training to resume (no {RECIPE} in it): leave --resume out to begin one")
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: not empty: choose another --out, or pass --resume to go on with its training")


def check_same(earlier: Run, now: Run) -> None:
    """Raise UsageError if a training that is resumed was one of another recipe, seed or data."""
    if differing := differences(earlier, now):
        raise UsageError(
            f"{now.folder}: holds another training ({'; '.join(differing)}): resume it as it was begun, "
            "or choose another --out"
        )


def differences(earlier: Run, now: Run) -> list[str]:
    """Say what makes two runs different trainings, one phrase each; data count by content, not by path."""
    found = list(_changes("recipe", to_record(earlier.recipe), to_record(now.recipe)))
    for key in ("seed", "limit", "started_from"):
        found += _changes(key, getattr(earlier, key), getattr(now, key))
    if not found and earlier.data_sha256 != now.data_sha256:
        found.append(f"data: other images than at the start, at {now.data_path or 'keras.datasets'}")
    return found


def _changes(path: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key in new:
            if path != "recipe" or key not in _PROSE:
                yield from _changes(f"{path}.{key}", old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _changes(f"{path}[{index}]", *pair)
    elif old != new:
        yield f"{path}: {_short(old)}, now {_short(new)}"


def current_versions() -> dict[str, str]:
    """Return the versions that decide a training's result, the Keras backend, this code's commit and the processor."""
    import keras

    backend = keras.backend.backend()
    versions = {"python": platform.python_version(), "quietframe": __version__, "backend": backend}
    for package in ("keras", backend, "numpy"):
        versions[package] = importlib.metadata.version(package)
    if commit := describe_commit():
        versions["commit"] = commit["sha"] + ("-dirty" if commit["dirty"] else "")
    return versions | {"processor": cpu_model() or "unknown"}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise SourceError(f"{path}: cannot be read ({exc})") from exc
    if not isinstance(record, dict):
        raise SourceError(f"{path}: holds a JSON {type(record).__name__}, expected an object")
    return record


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} {_short(item)}" for key, item in value.items() if key != "kind")
        return f"{value.get('kind', '')}({inner})"
    return str(value)

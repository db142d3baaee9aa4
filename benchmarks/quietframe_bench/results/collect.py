"""Run folders, read: what was trained, what came of it, and what was exported from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quietframe.errors import QuietFrameError, SourceError

if TYPE_CHECKING:
    from quietframe_train.run_folder import Run

MEASURES = ("psnr_db", "ssim", "mse", "bce", "rmse", "accuracy")
NOISY = "noisy_"
"""Before the name of a measure: of the noisy images, not of the denoised ones."""

_EXPORT = Path("export", "export.json")
_RECIPE, _HISTORY = "recipe.json", "history.csv"


@dataclass(frozen=True)
class ExportedFile:
    """One precision of an exported model.

    Attributes:
        target: such as `tflite-int8`.
        outcome: `passed`, `failed` or `refused`.
        path: of the file; None unless it passed and is there.
        reason: why it failed or was refused.
        size_bytes: of the file; 0 if there is none.
        drops: against Keras on held-out data, by unit (`psnr_db`, `accuracy_percent`).
        test: figures on the test set, named as in metrics.json.
        test_images: of how many test images, where it is not all of them: slow files are measured on fewer.
    """

    target: str
    outcome: str
    path: Path | None
    reason: str
    size_bytes: int
    drops: Mapping[str, float]
    test: Mapping[str, float]
    test_images: int | None = None


@dataclass(frozen=True)
class Entry:
    """One run folder.

    Attributes:
        run: as quietframe_train reads it.
        history: a row of figures for each epoch.
        files: what was exported, in the report's order.
        export_note: why there are no exported files, or why they are not used.
        held_out: what the files were compared with Keras on.
    """

    run: Run
    history: Sequence[Mapping[str, float]] = ()
    files: Sequence[ExportedFile] = ()
    export_note: str = ""
    held_out: str = ""

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return self.run.recipe.name

    @property
    def name(self) -> str:
        """What the page calls the run: its folder, which mostly is its recipe."""
        folder = self.run.folder.resolve().name
        return folder if folder.startswith(self.recipe) else f"{self.recipe} ({folder})"

    @property
    def finished(self) -> bool:
        """Whether the training is done and measured."""
        return bool(self.run.metrics)

    @property
    def set_name(self) -> str:
        """What the figures were measured on."""
        return next(iter(self.run.metrics.get("sets", {})), "")

    @property
    def figures(self) -> Mapping[str, float]:
        """The figures, named MEASURE_NOISE."""
        figures: Mapping[str, float] = self.run.metrics.get("sets", {}).get(self.set_name, {})
        return figures

    @property
    def pixels(self) -> int | None:
        """Of one image; None where the model takes any size."""
        kind, data = self.run.recipe.kind, self.run.recipe.data
        return {"digits": 28 * 28, "pictures": getattr(data, "side", 0) ** 2}.get(kind)

    @property
    def macs(self) -> float | None:
        """Multiply-accumulates for one image; None where the model takes any size."""
        return None if self.pixels is None or not self.finished else self.run.metrics["macs_per_pixel"] * self.pixels

    @property
    def planned_epochs(self) -> int:
        """The epochs of the recipe of that name today; the run's own where there is none."""
        from quietframe_train.recipes import RECIPES

        return RECIPES.get(self.recipe, self.run.recipe).epochs

    def does(self, task: str) -> bool:
        """Whether the model does `denoise` or `classify`."""
        return task in self.run.recipe.task.split("+")


@dataclass(frozen=True)
class Collection:
    """Everything that was found.

    Attributes:
        entries: the readable run folders, in the order of the recipes' list, then by name.
        unreadable: by folder name, why a folder with a recipe.json cannot be read.
        absent: recipes that no folder is of.
    """

    entries: Sequence[Entry]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    absent: Sequence[str] = ()

    def main(self, kind: str, task: str) -> list[Entry]:
        """One finished run for each recipe of a kind that does a task: the folder named like it, or else the first."""
        found: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.finished and entry.run.recipe.kind == kind and entry.does(task):
                earlier = found.get(entry.recipe)
                if earlier is None or (entry.name == entry.recipe != earlier.name):
                    found[entry.recipe] = entry
        return list(found.values())


def collect(paths: Sequence[Path]) -> Collection:
    """Read run folders, and folders that hold run folders.

    Raises:
        SourceError: a path that is neither; a run folder that was named and cannot be read; nothing found at all.
    """
    from quietframe_train.recipes import RECIPES
    from quietframe_train.run_folder import load_run

    entries, unreadable = {}, {}
    for folder, named in _folders(paths):
        try:
            entries[folder.resolve()] = read_entry(load_run(folder))
        except QuietFrameError as exc:
            if named:
                raise
            unreadable[folder.name] = str(exc).replace(f"{folder}/", "")
    if not entries:
        why = f" ({'; '.join(unreadable.values())})" if unreadable else ""
        raise SourceError(f"{', '.join(map(str, paths))}: no run folder of quietframe train to read{why}")
    order = list(RECIPES)
    ranked = sorted(
        entries.values(),
        key=lambda entry: (order.index(entry.recipe) if entry.recipe in order else len(order), entry.name),
    )
    present = {entry.recipe for entry in ranked}
    return Collection(ranked, unreadable, [name for name in order if name not in present])


def read_entry(run: Run) -> Entry:
    """A run with its history and its exported files. Raises SourceError if one of them cannot be read."""
    from quietframe_train.checkpoint import read_history

    history = read_history(run.folder)
    report = run.folder / _EXPORT
    if not report.is_file():
        return Entry(run, history, export_note="not exported")
    try:
        record = json.loads(report.read_text(encoding="utf-8"))
        if run.model_path.is_file() and record["source_sha256"] != _sha256(run.model_path):
            return Entry(run, history, export_note="the exported files are of an earlier training: export it again")
        files = [_file(entry, report.parent, record.get("test_images")) for entry in record["files"]]
        return Entry(run, history, files, held_out=record["held_out_from"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise SourceError(f"{report}: not a report of quietframe export that can be read ({exc!r})") from exc


def split_figure(name: str) -> tuple[str, str]:
    """(measure, noise) of a figure's name; the measure with `noisy_` where it is the noisy images'.

    `accuracy` alone is that of clean images. A name of another form is its own measure, without noise.
    """
    for prefix in (NOISY, ""):
        for measure in MEASURES:
            if name == prefix + measure:
                return name, "clean"
            if name.startswith(f"{prefix}{measure}_"):
                return prefix + measure, name.removeprefix(f"{prefix}{measure}_")
    return name, ""


def by_noise(figures: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Figures by measure, by noise, in the order of the names."""
    found: dict[str, dict[str, float]] = {}
    for name, value in figures.items():
        measure, noise = split_figure(name)
        found.setdefault(noise, {})[measure] = value
    return found


def noise_words(noise: Any) -> str:
    """A noise model in a few words, its values on [0, 1]."""
    from quietframe_train.corruption import NormalNoise, UniformNoise

    if isinstance(noise, UniformNoise):
        return f"uniform[0, {noise.high:g})"
    if isinstance(noise, NormalNoise) and noise.lowest_sigma is None:
        words = f"N({noise.mean:g}, {noise.sigma:g}²)"
        return f"{'gray ' if noise.shared else ''}{words}{'' if noise.clip else ', not clipped'}"
    key: str = noise.key
    return key


def _folders(paths: Sequence[Path]) -> Iterable[tuple[Path, bool]]:
    """(run folder, whether it was named itself)."""
    for path in paths:
        if not path.is_dir():
            raise SourceError(f"{path}: no such folder: train first, or name a run folder or a folder of them")
        if (path / _RECIPE).is_file():
            yield path, True
        else:
            yield from ((below.parent, False) for below in sorted(path.glob(f"*/{_RECIPE}")))


def _file(record: Mapping[str, Any], folder: Path, whole: int | None) -> ExportedFile:
    """One file of a report; `whole`: how many images the test set has, if the report says so."""
    path = folder / record["file"] if record["file"] else None
    missing = path is not None and not path.is_file()
    comparisons = record["comparisons"] if "comparisons" in record else [record["comparison"]]  # one, in older reports
    return ExportedFile(
        target=record["target"],
        outcome="missing" if missing else record["outcome"],
        path=None if missing else path,
        reason=f"{record['file']} is not there any more" if missing else record["reason"],
        size_bytes=record["size_bytes"],
        drops={found["unit"]: found["drop"] for found in comparisons if found},
        test=record["test"] or {},
        test_images=part if (part := record.get("test_images", whole)) != whole else None,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Write the page of results from run folders: `python docs/research/results.py RUNS... -o docs/results.md`.

Every figure is read from what training and export wrote into the folders: recipe.json, metrics.json, history.csv and
export/export.json. Nothing is measured here.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from quietframe.errors import OutputError, QuietFrameError, SourceError
from quietframe.images import write_whole
from quietframe.metrics import by_set, metric_table
from quietframe_bench.columns import Column, Table, to_markdown
from quietframe_train.run_folder import Run, load_run

EXPORT = Path("export", "export.json")


@dataclass(frozen=True)
class Entry:
    """One run folder.

    Attributes:
        run: as the training wrote it.
        history: a row of figures for each epoch.
        export: what export.json holds; empty where nothing was exported.
    """

    run: Run
    history: Sequence[dict[str, str]] = ()
    export: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name, with the recipe's where that differs."""
        folder, recipe = self.run.folder.resolve().name, self.run.recipe.name
        return folder if folder.startswith(recipe) else f"{recipe} ({folder})"

    @property
    def is_finished(self) -> bool:
        """Whether the training was done and measured."""
        return bool(self.run.metrics)

    def metric(self, name: str) -> Any:
        """Return an entry of metrics.json; None where it has none."""
        return self.run.metrics.get(name)

    @property
    def epochs(self) -> str:
        """How many epochs were run, of how many."""
        ran = self.metric("epochs_run") or len(self.history)
        return f"{ran} of {self.run.epochs}"

    @property
    def minutes(self) -> float | None:
        """How long the training took."""
        seconds = self.metric("training_seconds")
        return None if seconds is None else seconds / 60

    @property
    def best_loss(self) -> float | None:
        """The smallest validation loss of an epoch."""
        losses = [float(row["val_loss"]) for row in self.history if row.get("val_loss")]
        return min(losses) if losses else None


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Return the run folders among folders and directly in them. Raises SourceError if there are none."""
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder")
        inside = [path for path in sorted(folder.iterdir()) if (path / "recipe.json").is_file()]
        found |= dict.fromkeys([folder] if (folder / "recipe.json").is_file() else inside)
    if not found:
        raise SourceError(f"{', '.join(map(str, folders))}: no run folders (with a recipe.json) in it")
    return list(found)


def read_entry(folder: Path) -> Entry:
    """Read a run folder. Raises SourceError if its files are damaged."""
    run = load_run(folder)
    try:
        history: list[dict[str, str]] = []
        if (folder / "history.csv").is_file():
            with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
                history = list(csv.DictReader(file))
        export = json.loads((folder / EXPORT).read_text(encoding="utf-8")) if (folder / EXPORT).is_file() else {}
    except (OSError, ValueError) as exc:
        raise SourceError(f"{folder}: cannot be read ({exc})") from exc
    return Entry(run, history, export)


def drops(file: dict[str, Any]) -> str:
    """Return what a file lost against Keras, by unit."""
    found = [(one["unit"], one["drop"]) for one in file.get("comparisons", [])]
    return ", ".join(f"{drop:.3f} {'dB' if unit == 'psnr_db' else '%'}" for unit, drop in found)


OVERVIEW = (
    Column("run", lambda entry: entry.name),
    Column("parameters", lambda entry: entry.metric("parameters"), ",.0f"),
    Column("MACs a pixel", lambda entry: entry.metric("macs_per_pixel"), ",.0f"),
    Column("epochs", lambda entry: entry.epochs),
    Column("minutes", lambda entry: entry.minutes, ".0f"),
    Column("best validation loss", lambda entry: entry.best_loss, ".4f"),
    Column("training data", lambda entry: entry.run.data.name, words=True),
    Column("its terms", lambda entry: entry.run.data.terms, words=True),
)
FILES = (
    Column("target", lambda file: file["target"]),
    Column("kB", lambda file: file.get("size_bytes") or None, ",.0f", scale=1e-3),
    Column("outcome", lambda file: file["outcome"]),
    Column("loss against Keras", drops, words=True),
    Column("reason", lambda file: file.get("reason"), words=True),
)


def set_tables(entry: Entry) -> Iterator[Table]:
    """Yield a table of each set that the training measured on: a row for each noise, a column for each measure."""
    for name, metrics in by_set(entry.run.measured).items():
        heads, rows = metric_table(metrics)
        columns = [
            Column(head.removeprefix(">"), lambda row, index=index: row[index]) for index, head in enumerate(heads)
        ]
        yield Table(f"On {name}, with Keras; noisy → denoised.", columns, rows)


def page(entries: Sequence[Entry]) -> str:
    """Return the page as Markdown."""
    today = datetime.now(UTC).date().isoformat()
    unfinished = [entry.name for entry in entries if not entry.is_finished]
    parts = [
        "<!-- written by docs/research/results.py: changes are lost when it runs again -->",
        "# All results of the built-in recipes",
        f"Written on {today} from the folders of {len(entries)} trainings. PSNR is the mean over images of each "
        "image's PSNR on 8-bit values; BCE is in nats; MSE and RMSE are of values on [0, 1].",
        "## Overview",
        to_markdown([Table("All trainings.", OVERVIEW, entries)]).strip(),
    ]
    if unfinished:
        parts.append(f"Not finished: {', '.join(unfinished)}.")
    for entry in entries:
        parts += [f"## {entry.name}", describe(entry)]
        parts += [to_markdown([table]).strip() for table in set_tables(entry)]
        if files := entry.export.get("files"):
            title = (
                f"Exported files, calibrated with {entry.export.get('calibrated_with') or 'nothing'}; compared on "
                f"{entry.export.get('held_out_from') or 'held-out data'}."
            )
            parts.append(to_markdown([Table(title, FILES, files)]).strip())
    return "\n\n".join(parts) + "\n"


def describe(entry: Entry) -> str:
    """Return in a sentence how a training was done."""
    run = entry.run
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    started = f" It began with the weights of {run.started_from}." if run.started_from else ""
    limit = f", {run.limit} images" if run.limit else ""
    return f"Recipe `{run.recipe.name}`, seed {run.seed}{limit}, begun {run.created}, with {versions}.{started}"


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), default="docs/results.md")
@click.option("--overwrite", is_flag=True, help="Replace the page if it exists.")
def main(runs: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Write the page of results from RUNS: run folders, or folders that hold them."""
    try:
        if out.exists() and not overwrite:
            raise OutputError(f"{out}: exists already: pass --overwrite to replace it")
        write_whole(out, page([read_entry(folder) for folder in find_runs(runs)]).encode())
    except QuietFrameError as exc:
        raise click.ClickException(str(exc)) from None
    click.echo(f"wrote {out}", err=True)


if __name__ == "__main__":
    main()

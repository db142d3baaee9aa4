"""A section for each run: how it was trained, a picture, its exported files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from quietframe_bench.results.collect import NOISY, Entry, ExportedFile, split_figure
from quietframe_bench.results.findings import Findings
from quietframe_bench.results.markdown import NONE, duration, figure, gain, paragraph, plural, table
from quietframe_bench.speed import SpeedRow

_MOST_ROWS = 12  # of a table that is shown unfolded
_UNITS = {"psnr_db": "dB", "accuracy_percent": "points"}


def section(entry: Entry, findings: Findings) -> str:
    """The run's part of the page, with its heading."""
    recipe = entry.run.recipe
    parts = [f"### {entry.name}", f"{_capital(recipe.summary)}. {_capital(recipe.source)}.", _training(entry)]
    if not entry.finished:
        parts.append(f"**Not finished**: {len(entry.history)} of {entry.run.epochs} epochs are done.")
        return "\n\n".join(parts)
    if picture := findings.images.get(f"samples-{entry.name}"):
        parts.append(f"![Samples of {entry.name}]({picture})")
    parts += _exported(entry, findings)
    return "\n\n".join(parts)


def train_command(entry: Entry) -> str:
    """The command that repeats the training, its data by the last part of their path."""
    run = entry.run
    parts = ["quietframe train", run.recipe.name]
    parts += ["--data", run.data_path.name] if run.data_path else []
    parts += ["--seed", str(run.seed)]
    parts += ["--epochs", str(run.recipe.phases[0].epochs)] if run.epochs != entry.planned_epochs else []
    parts += ["--limit", str(run.limit)] if run.limit else []
    return " ".join(parts)


def _training(entry: Entry) -> str:
    run, recipe = entry.run, entry.run.recipe
    how = "; ".join(
        f"loss {phase.loss}, {phase.optimizer.name.capitalize()} {phase.optimizer.learning_rate:g}, batch {phase.batch}"
        for phase in recipe.phases
    )
    if recipe.parts:
        how = f"composed of {' and '.join(recipe.parts)}"
    counts, took = "", ""
    if entry.finished:
        metrics = run.metrics
        tested = f", {metrics['test_images']:,} tested" if metrics.get("test_images") else ""
        counts = f"{metrics['training_images']:,} images trained, {metrics['validation_images']:,} validated{tested}."
        took = (
            f"{plural(metrics['epochs_run'], 'epoch')} in {duration(metrics['training_seconds'])}."
            if recipe.phases
            else ""
        )
    versions = ", ".join(
        f"{name} {run.versions[name]}" for name in ("keras", "tensorflow", "jax") if name in run.versions
    )
    return paragraph(
        f"`{train_command(entry)}`: noise {recipe.noise.describe()}; {how}.",
        f"Data: {run.data.name} ({run.data.terms}).",
        counts,
        took,
        f"Begun {run.created[:10]}{f', {versions}' if versions else ''}.",
    )


def _exported(entry: Entry, findings: Findings) -> list[str]:
    from quietframe_export.targets import TARGETS

    if not entry.files:
        return [f"Exported files: none ({entry.export_note})."]
    timed = findings.measured.latency
    rows = {row.model.name: row for row in (timed or {}).get(entry.name, ())}
    latency = [] if timed is None else ["latency ms"]
    body = []
    for file in entry.files:
        cells = [f"`{file.target}`", f"{file.size_bytes / 1024:,.1f}" if file.size_bytes else NONE, _drops(file)]
        if timed is not None:
            cells.append(_latency(file, rows))
        body.append([*cells, f"{file.outcome}: {file.reason}" if file.reason else file.outcome])
    parts = [table(["file", "KiB", "drop against Keras", *latency, "outcome:"], body)]
    parts.append(
        paragraph(
            f"Drop: on {entry.held_out}." if entry.held_out else "",
            _size(rows.values()),
            _absent([name for name in TARGETS if name not in {file.target for file in entry.files}]),
        )
    )
    if tested := [file for file in entry.files if file.test]:
        partly = any(file.test_images for file in tested)
        parts.append(f"The files on {entry.set_name}, whole{' but where a number of images stands' if partly else ''}:")
        parts.append(_on_test_set(entry, tested, findings))
    else:
        parts.append("The files were not measured on a test set.")
    return parts


def _on_test_set(entry: Entry, tested: Sequence[ExportedFile], findings: Findings) -> str:
    names = dict.fromkeys(name for file in tested for name in file.test if not name.startswith(NOISY))
    rows = []
    for name in names:
        measure, _ = split_figure(name)
        if measure == "rmse" and entry.run.recipe.kind == "digits":
            continue  # what the sources of the picture denoisers report; MSE says the same of digits
        values = [entry.figures.get(name), *(file.test.get(name) for file in tested)]
        rows.append([findings.label(name), *(figure(measure, value) for value in values)])
    heads = [f"{f.target} ({f.test_images:,} images)" if f.test_images else f.target for f in tested]
    whole = table(["figure", "Keras", *heads], rows)
    if len(rows) <= _MOST_ROWS:
        return whole
    return f"<details><summary>{len(rows)} figures</summary>\n\n{whole}\n\n</details>"


def _drops(file: ExportedFile) -> str:
    """What the file loses, so that a loss has a minus."""
    return ", ".join(f"{gain(unit, -drop)} {_UNITS.get(unit, unit)}" for unit, drop in file.drops.items()) or NONE


def _latency(file: ExportedFile, rows: Mapping[str, SpeedRow]) -> str:
    row = rows.get(file.path.name) if file.path else None
    if row is None:
        return NONE
    if row.error:
        return "failed"
    milliseconds = median(row.samples.stages_ns["total"]) / 1e6
    return f"{milliseconds:.3g}" if milliseconds < 1000 else f"{milliseconds:,.0f}"


def _size(rows: Iterable[SpeedRow]) -> str:
    sizes = {f"{row.size_wh[0]}×{row.size_wh[1]}" for row in rows if row.size_wh}
    return f"Latency: median of one picture of {' and '.join(sorted(sizes))}, 1 thread." if sizes else ""


def _absent(targets: Sequence[str]) -> str:
    return f"Not exported: {', '.join(targets)}." if targets else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

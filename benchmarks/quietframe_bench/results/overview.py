"""The tables over all runs: one for each kind of model, and what their sources report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quietframe_bench.results.collect import NOISY, Entry, by_noise
from quietframe_bench.results.findings import Findings
from quietframe_bench.results.markdown import (
    NAMES,
    NONE,
    duration,
    figure,
    integer,
    millions,
    paragraph,
    plural,
    table,
)
from quietframe_bench.results.measured import Chance
from quietframe_bench.results.reported import IN_WORDS, REPORTED, Reported, reported_of

COLOUR_REFERENCE = "color-autoencoder"
"""The multiply-accumulates of the picture denoisers are set against this recipe's."""


def denoisers(entries: Sequence[Entry], findings: Findings, measures: Sequence[str]) -> str:
    """A row for each run and noise, with the figures of the denoised images."""
    rows = []
    for entry in entries:
        facts = _facts(entry)
        if not entry.finished:
            rows.append([*facts, NONE, *[NONE] * len(measures)])
            continue
        for key, figures in by_noise(entry.figures).items():
            values = [figure(measure, figures.get(measure)) for measure in measures]
            rows.append([*facts, findings.noise(key), *values])
            facts = [""] * len(facts)
    return table([*_FACTS, "noise:", *(NAMES[measure] for measure in measures)], rows)


def classifiers(entries: Sequence[Entry], findings: Findings) -> str:
    """A row for each run and noise, with the accuracy."""
    rows = []
    for entry in entries:
        facts = _facts(entry)
        if not entry.finished:
            rows.append([*facts, NONE, NONE, NONE])
        for key, figures in by_noise(entry.figures).items():
            if "accuracy" in figures:
                name = "accuracy" if key == "clean" else f"accuracy_{key}"
                folds = folds_words(entry, name)
                rows.append([*facts, findings.noise(key), figure("accuracy", figures["accuracy"]), folds or NONE])
                facts = [""] * len(facts)
    return table([*_FACTS, "images:", "accuracy", "cross-validation"], rows)


def folds_words(entry: Entry, name: str) -> str:
    """A figure over the folds of a cross-validation; empty if there was none."""
    values = entry.run.metrics.get("cross_validation", {}).get(name, ())
    if len(values) < 2:
        return ""
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f} over {len(values)} folds"


def sources(findings: Findings) -> str:
    """What each source reports, beside the same of ours."""
    from quietframe_train.recipes import RECIPES

    rows = []
    for recipe in sorted({*IN_WORDS, *REPORTED}, key=list(RECIPES).index):
        runs = [entry for entry in findings.found.entries if entry.recipe == recipe]
        if recipe in IN_WORDS:
            own = next((_first_words(entry, findings) for entry in runs if entry.finished), _why_not(runs))
            rows.append([f"`{recipe}`", "", IN_WORDS[recipe], own, ""])
        for reported in REPORTED.get(recipe, ()):
            rows.append([f"`{recipe}`", *_source_row(reported, runs, findings)])
    return table(["recipe", "figure:", "its source", "ours", "remark:"], rows)


def seeds(findings: Findings) -> str:
    """Trainings of one recipe with several seeds: each and their mean; empty if there are none."""
    rows = []
    for recipe in dict.fromkeys(entry.recipe for entry in findings.found.entries):
        runs = [entry for entry in findings.found.entries if entry.recipe == recipe and entry.finished]
        alike_in: dict[tuple[int, int | None], list[Entry]] = {}
        for entry in runs:
            alike_in.setdefault((entry.run.epochs, entry.run.limit), []).append(entry)
        for alike in alike_in.values():
            if len({entry.run.seed for entry in alike}) < 2:
                continue
            for name in alike[0].figures:
                values = [entry.figures.get(name) for entry in alike]
                if name.startswith(NOISY) or None in values:
                    continue
                known = [value for value in values if value is not None]
                each = ", ".join(f"{value:.4f} (seed {e.run.seed})" for value, e in zip(known, alike, strict=True))
                rows.append([f"`{recipe}`", findings.label(name), each, f"{np.mean(known):.4f}"])
    return table(["recipe", "figure:", "each", "mean"], rows) if rows else ""


def colour(findings: Findings) -> str:
    """Picture denoisers by mean RMSE, with their split and their work."""
    entries = findings.of(kind="pictures", task="denoise")
    reference = next((entry for entry in entries if entry.recipe == COLOUR_REFERENCE and entry.finished), None)
    rows = []
    for entry in entries:
        if not entry.finished:
            rows.append([f"`{entry.name}`", NONE, _epochs(entry), *[NONE] * 7])
            continue
        split = {"content": "by content", "file": "by file"}[entry.run.recipe.data.split]  # type: ignore[attr-defined]
        tested = entry.run.metrics.get("test_images")
        ratio = reference.macs / entry.macs if reference and reference.macs and entry.macs else None
        for key, figures in by_noise(entry.figures).items():
            reported = [r for r in reported_of(entry.recipe, entry.run.metrics["epochs_run"]) if r.figure.endswith(key)]
            rows.append(
                [
                    f"`{entry.name}`",
                    findings.noise(key),
                    _epochs(entry),
                    f"{split}, {tested} test" if tested else split,
                    figure("rmse", figures.get("rmse")),
                    figure("rmse", figures.get(f"{NOISY}rmse")),
                    figure("rmse", reported[0].mean) if reported else NONE,
                    _few(findings.measured.chances.get((entry.name, key))),
                    f"{millions(entry.macs)}",
                    NONE if ratio is None else f"1/{ratio:.1f}" if ratio > 1 else "1",
                ]
            )
    head = ["run", "noise:", "epochs", "split", "RMSE", "noisy RMSE", "source, 5 images", "any 5 of ours", "MACs"]
    return table([*head, f"against {COLOUR_REFERENCE}"], rows)


def _few(found: Chance | None) -> str:
    return NONE if found is None else f"{figure('rmse', found.low)} to {figure('rmse', found.high)}"


_FACTS = ("run", "parameters", "MACs", "epochs", "training")


def _facts(entry: Entry) -> list[str]:
    name = f"[`{entry.name}`](#{anchor(entry)})"
    if not entry.finished:
        return [name, NONE, NONE, _epochs(entry), "not finished"]
    metrics = entry.run.metrics
    seconds = "composed" if metrics.get("parts") else duration(metrics["training_seconds"])
    macs = f"{metrics['macs_per_pixel']:,.0f} a pixel" if entry.macs is None else millions(entry.macs)
    return [name, integer(metrics["parameters"]), macs, _epochs(entry), seconds]


def anchor(entry: Entry) -> str:
    """Of the run's section, as GitHub makes it from its heading."""
    kept = (c for c in entry.name.lower() if c.isalnum() or c in " -_")
    return "".join(kept).replace(" ", "-")


def _epochs(entry: Entry) -> str:
    if entry.run.recipe.parts:
        return NONE
    run = entry.run.metrics.get("epochs_run", len(entry.history))
    limit = f", {entry.run.limit:,} images only" if entry.run.limit else ""
    return f"{run} of {entry.planned_epochs}{limit}"


def _source_row(reported: Reported, runs: Sequence[Entry], findings: Findings) -> list[str]:
    after = f" after {reported.epochs} epochs" if reported.epochs else ""
    source = f"{reported.mean:.4f}" if len(reported.values) > 1 else f"{reported.mean:g}"
    alike = [
        entry
        for entry in runs
        if entry.finished and reported in reported_of(entry.recipe, entry.run.metrics["epochs_run"])
    ]
    found = [(entry, entry.figures[reported.figure]) for entry in alike if reported.figure in entry.figures]
    own = ", ".join(f"{value:.4f} ({_circumstances(entry)})" for entry, value in found)
    if len(found) > 1:
        own += f"; mean {np.mean([value for _, value in found]):.4f}"
    each = f" ({', '.join(f'{v:g}' for v in reported.values)})" if len(reported.values) > 1 else ""
    remark = paragraph(f"source: {reported.what}{each}.", *(_reaches(entry, reported) for entry, _ in found))
    return [f"{findings.label(reported.figure)}{after}", source, own or _why_not(runs), remark]


def _circumstances(entry: Entry) -> str:
    epochs = plural(entry.run.metrics["epochs_run"], "epoch")
    limit = f", {entry.run.limit:,} images only" if entry.run.limit else ""
    return f"{epochs}, seed {entry.run.seed}{limit}"


def _reaches(entry: Entry, reported: Reported) -> str:
    """When the validation loss came down to a source's figure, where the two are the same measure."""
    if not (
        reported.figure.startswith("bce")
        and any(phase.loss == "binary_crossentropy" for phase in entry.run.recipe.phases)
    ):
        return ""
    losses = [row["val_loss"] for row in entry.history if "val_loss" in row]
    reached = next((row["epoch"] for row in entry.history if row.get("val_loss", np.inf) <= reported.mean), None)
    if reached is not None:
        return f"Our validation loss is at or below it from epoch {reached:g} on."
    return f"Our validation loss stays above it (lowest: {min(losses):.4f})." if losses else ""


def _why_not(runs: Sequence[Entry]) -> str:
    return "not finished" if any(not entry.finished for entry in runs) else "not run"


def _first_words(entry: Entry, findings: Findings) -> str:
    """The first figures of a run."""
    key, figures = next(iter(by_noise(entry.figures).items()))
    names = [name for name in ("bce", "psnr_db", "ssim", "accuracy") if name in figures]
    return ", ".join(f"{NAMES[name]} {figure(name, figures[name])}" for name in names) + f" on {findings.noise(key)}"

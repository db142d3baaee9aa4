"""One denoiser against another, and the classifiers behind them."""

from __future__ import annotations

from quietframe_bench.results.collect import by_noise
from quietframe_bench.results.findings import Findings
from quietframe_bench.results.markdown import NAMES, NONE, figure, gain, integer, millions, paragraph, table
from quietframe_bench.results.measured import CHAMPION

_LOWER_IS_BETTER = frozenset({"bce", "mse", "rmse"})
_MOST_NAMED = 8
_COMPARED = ("bce", "psnr_db", "ssim")


def against_champion(findings: Findings) -> tuple[str, str]:
    """The champion against each other digit denoiser on that one's noises: (a sentence, a table)."""
    every = {entry.recipe: entry for entry in findings.found.main("digits", "denoise") if not entry.does("classify")}
    champion = every.pop(CHAMPION, None)
    if champion is None or not every:
        return f"Not there: it takes a finished `{CHAMPION}` and at least one other digit denoiser.", ""
    readers = [
        entry.name
        for entry in findings.found.main("digits", "classify")
        if any(r.classifier == entry.name and r.denoiser for r in findings.measured.readings)
    ]
    own = by_noise(champion.figures)
    rows, won, lost = [], 0, []
    for design in every.values():
        facts = f"`{design.name}`, {integer(design.run.metrics['parameters'])} parameters, {millions(design.macs)}MAC"
        for key, figures in by_noise(design.figures).items():
            pairs = [(measure, figures.get(measure), own.get(key, {}).get(measure)) for measure in _COMPARED]
            for reader in readers:
                accuracy = findings.measured.accuracy
                pairs.append(("accuracy", accuracy(key, design.name, reader), accuracy(key, champion.name, reader)))
            rows.append([facts, findings.noise(key), *(_duel(*pair) for pair in pairs)])
            facts = ""
            for measure, theirs, ours in pairs:
                if theirs is not None and ours is not None:
                    ahead = _ahead(measure, theirs, ours)
                    won += ahead
                    lost += [] if ahead else [f"{NAMES[measure]} of {design.name}, {findings.noise(key)}"]
    facts = f"{integer(champion.run.metrics['parameters'])} parameters and {millions(champion.macs)}MAC a digit"
    told = paragraph(
        f"`{champion.name}` ({facts}) is ahead in {won} of {won + len(lost)} comparisons.",
        f"Behind or level: {'; '.join(dict.fromkeys(lost))}." if lost and len(lost) <= _MOST_NAMED else "",
    )
    head = ["design", "noise:", *(NAMES[m] for m in _COMPARED), *(f"accuracy of {reader} behind" for reader in readers)]
    return told, table(head, rows)


def accuracies(findings: Findings) -> str:
    """Every classifier of digits on every noise, alone and behind denoisers, in float and in 8 bits."""
    composed = {entry.name for entry in findings.of(kind="digits", task="classify") if entry.does("denoise")}
    readings = [r for r in findings.measured.readings if r.classifier not in composed]
    columns = list(dict.fromkeys((r.classifier, r.precision) for r in readings))
    columns.sort(key=lambda column: [r.classifier for r in readings].index(column[0]))
    keys = sorted(dict.fromkeys(r.noise for r in readings), key=lambda key: key != "clean")
    rows = []
    for key in keys:
        name = findings.noise(key)
        for denoiser in dict.fromkeys(r.denoiser for r in readings if r.noise == key):
            values = [findings.measured.accuracy(key, denoiser, *column) for column in columns]
            rows.append([name, f"`{denoiser}`" if denoiser else "none", *(figure("accuracy", v) for v in values)])
            name = ""
    heads = [f"{classifier}{', int8' if precision == 'int8' else ''}" for classifier, precision in columns]
    return table(["images", "denoiser:", *heads], rows)


def composites(findings: Findings) -> str:
    """The accuracy of files that denoise and classify; empty if none was measured."""
    composed = {entry.name for entry in findings.of(kind="digits", task="classify") if entry.does("denoise")}
    rows = [
        [f"`{r.classifier}`", r.files[0], findings.noise(r.noise), figure("accuracy", r.accuracy)]
        for r in findings.measured.readings
        if r.classifier in composed
    ]
    return table(["run", "file:", "images:", "accuracy"], rows) if rows else ""


def _ahead(measure: str, theirs: float, ours: float) -> bool:
    return ours < theirs if measure in _LOWER_IS_BETTER else ours > theirs


def _duel(measure: str, theirs: float | None, ours: float | None) -> str:
    """Both and the difference; the champion's in bold where it is ahead."""
    if theirs is None or ours is None:
        return NONE
    bold = "**" if _ahead(measure, theirs, ours) else ""
    return f"{figure(measure, theirs)} → {bold}{figure(measure, ours)}{bold} ({gain(measure, ours - theirs)})"

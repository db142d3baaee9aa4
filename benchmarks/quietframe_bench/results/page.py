"""The page: what was found and measured, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from quietframe.errors import OutputError
from quietframe.images import write_whole
from quietframe_bench.results import overview, versus
from quietframe_bench.results.collect import Entry
from quietframe_bench.results.digits import ROBUSTNESS_IMAGES
from quietframe_bench.results.findings import Findings
from quietframe_bench.results.markdown import paragraph
from quietframe_bench.results.measure import LATENCY
from quietframe_bench.results.measured import CHAMPION
from quietframe_bench.results.sections import section

MARK = "<!-- written by quietframe results: changes are lost when it runs again -->"


def check_page(path: Path) -> None:
    """Raise OutputError where the page cannot be written, or would replace a file that this command did not write."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder, expected a file to write")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: no such folder: {path.parent}")
    if path.exists() and not path.read_bytes().startswith(MARK.encode()):
        raise OutputError(f"{path}: exists and was not written by quietframe results: choose another --out")


def write_page(path: Path, findings: Findings) -> None:
    """Write the page, whole or not at all. Raises OutputError."""
    write_whole(path, page(findings).encode())


def page(findings: Findings) -> str:
    """The page's text."""
    parts = [MARK, "# Results", _opening(findings), *_overviews(findings), *_comparisons(findings)]
    parts += ["## The trainings one by one"]
    parts += [section(entry, findings) for entry in findings.found.entries]
    parts += ["## How the numbers came to be", _how(findings)]
    parts += ["## What was not run or measured", _missing(findings)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(findings: Findings) -> str:
    return paragraph(
        f"Written by `{findings.command}` on {findings.date[:10]}: figures of trained models are read from their run",
        "folders, the others were measured by the command.",
        "Noisy images are met in 8 bits (noise added, clipped, rounded) unless a noise says `not clipped`.",
        "BCE (binary cross-entropy, in nats), MSE and RMSE are of the float output on [0, 1], RMSE the mean of each",
        "image's; PSNR is the mean of each image's and, as SSIM, of 8-bit results.",
        "How each number came to be is said [near the end](#how-the-numbers-came-to-be),",
        "then [what is missing](#what-was-not-run-or-measured).",
    )


def _overviews(findings: Findings) -> Iterator[str]:
    denoisers = (
        ("digits", "Digit denoisers", ("noisy_psnr_db", "psnr_db", "ssim", "mse", "bce")),
        ("pictures", "Picture denoisers, 256×256", ("noisy_psnr_db", "psnr_db", "ssim", "mse", "bce", "rmse")),
        ("photos", "Camera denoisers", ("noisy_psnr_db", "psnr_db")),
    )
    for kind, title, measures in denoisers:
        if entries := findings.of(kind=kind, task="denoise"):
            yield f"## {title}"
            yield overview.denoisers(entries, findings, measures)
            yield _tested(entries)
            yield from _figure(findings, f"loss-{kind}", f"Loss by epoch: {title.lower()}")
    if entries := findings.of(task="classify"):
        yield "## Classifiers"
        yield overview.classifiers(entries, findings)
        yield _tested(entries)
        if several := overview.seeds(findings):
            yield "One recipe with several seeds:"
            yield several
    yield "## Beside the sources"
    yield overview.sources(findings)


def _comparisons(findings: Findings) -> Iterator[str]:
    measured = findings.measured
    if findings.of(kind="digits"):
        yield f"## {CHAMPION} against each design, on that design's own noise"
        told, duels = versus.against_champion(findings)
        behind = f"Accuracies: {measured.digits}." if measured.digits else "Accuracies were not measured."
        yield paragraph(told, f"In each cell: the design → `{CHAMPION}` (difference). {behind}" if duels else "")
        yield duels
    if measured.readings:
        yield "## Accuracy alone and behind denoisers"
        in_keras = dict.fromkeys(file for r in measured.readings for file in r.files if file.endswith(" in Keras"))
        yield paragraph(
            f"Exported files, run by the runtime one picture at a time; {measured.digits}.",
            f"Not exported, so run otherwise: {', '.join(in_keras)}." if in_keras else "",
        )
        yield versus.accuracies(findings)
        if one_file := versus.composites(findings):
            yield "Denoiser and classifier in one file:"
            yield one_file
        yield from _figure(findings, "confusion-digits", "What the digit classifier took noisy digits for")
    for name in measured.confusions:
        if name != "digits":
            yield f"## What {name} takes its test pictures for"
            yield from _figure(findings, f"confusion-{name}", f"Confusion matrix of {name}")
    if robustness := measured.robustness:
        yield "## Robustness"
        yield paragraph(
            f"N(0, σ²) on the first {robustness.images:,} test digits, clipped to 8 bits.",
            f"Read by `{robustness.classifier}` behind each denoiser." if robustness.classifier else "",
        )
        yield from _figure(findings, "robustness", "PSNR and accuracy against sigma")
    if findings.of(kind="pictures", task="denoise"):
        yield "## Colour: error, split and work"
        yield overview.colour(findings)
        yield paragraph(
            "Split `by content` keeps pictures with the same pixels on one side; `by file` is the source's plain one,",
            "which puts twins of training pictures into the test.",
            "The source's RMSE is the mean of five test images; ours of all.",
            "Beside it: what holds 90 % of the means of five of our test images, drawn at random.",
        )


def _figure(findings: Findings, name: str, text: str) -> Iterator[str]:
    if name in findings.images:
        yield f"![{text}]({findings.images[name]})"


def _tested(entries: Sequence[Entry]) -> str:
    """Which sets the figures are of, and how large."""
    sizes: dict[str, set[int]] = {}
    for entry in entries:
        if entry.finished:
            metrics, photos = entry.run.metrics, entry.run.recipe.kind == "photos"
            count = metrics["validation_images"] if photos else metrics.get("test_images")
            sizes.setdefault(entry.set_name, set()).update([count] if count else [])
    said = [paragraph(name, *(f"({count:,} images)" for count in sorted(counts))) for name, counts in sizes.items()]
    return f"Measured by the training, with Keras, on: {'; '.join(said)}." if said else ""


def _how(findings: Findings) -> str:
    from quietframe_train.evaluate import NOISE_SEED

    machine, measured = findings.machine, findings.measured
    begun = sorted(entry.run.created[:10] for entry in findings.found.entries)
    versions: dict[str, set[str]] = {}
    for entry in findings.found.entries:
        for name, version in entry.run.versions.items():
            versions.setdefault(name, set()).add(version)
    trained = ", ".join(f"{name} {' or '.join(sorted(found))}" for name, found in versions.items())
    lines = [
        f"Command: `{findings.command}`, {findings.date}, {_commit(findings)}.",
        f"Machine of the command: {machine.get('cpu') or 'unknown processor'}, {machine.get('physical_cores')} cores, "
        f"{round((machine.get('memory_mb') or 0) / 1000)} GB, {machine.get('system')}; "
        f"{', '.join(f'{name} {version}' for name, version in findings.versions.items())}.",
        f"Trainings: begun {begun[0]}{'' if begun[0] == begun[-1] else f' to {begun[-1]}'}, with {trained}. "
        "Training times are wall-clock, other trainings may have shared the machine.",
        "Parameters, MACs, training time and figures by noise: `metrics.json` of the run folder, written by "
        "`quietframe train`. File sizes, drops and figures of files: its `export/export.json`, written by "
        "`quietframe export`.",
        f"Noise on test images: seed ({NOISE_SEED}, CRC-32 of the noise's key), so every model meets the same noise.",
    ]
    if measured.readings:
        files = dict.fromkeys(file for reading in measured.readings for file in reading.files)
        lines.append(f"Accuracies and robustness were measured with: {', '.join(f'`{file}`' for file in files)}.")
    if measured.robustness:
        lines.append(
            f"Robustness: at most {ROBUSTNESS_IMAGES:,} digits, σ in steps of 0.1; float files before int8 ones."
        )
    if measured.latency is not None:
        lines.append(
            f"Latency: median of the whole call of at least {LATENCY.runs} pictures that differ, 1 thread, a process "
            f"for each file, all files of a training in turn (load of the machine before: {machine.get('load_1min')})."
        )
    return "\n".join(f"- {line}" for line in lines)


def _commit(findings: Findings) -> str:
    if not findings.commit:
        return f"quietframe {findings.versions.get('quietframe', 'of an unknown version')}"
    return f"commit {findings.commit['sha'][:10]}{' with changes' if findings.commit['dirty'] else ''}"


def _missing(findings: Findings) -> str:
    found, measured = findings.found, findings.measured
    lines = []
    if found.absent:
        lines.append(f"No run folder: {', '.join(f'`{name}`' for name in found.absent)}.")
    for entry in found.entries:
        if not entry.finished:
            lines.append(
                f"`{entry.name}`: the training is not finished ({len(entry.history)} of {entry.run.epochs} epochs)."
            )
        elif not entry.files:
            lines.append(f"`{entry.name}`: {entry.export_note}.")
        if entry.run.limit:
            lines.append(f"`{entry.name}`: trained on {entry.run.limit:,} images only, as a trial.")
    lines += [f"`{name}`: cannot be read: {why}" for name, why in found.unreadable.items()]
    lines += measured.notes
    lines += [f"Failed: {failure}" for failure in measured.failures]
    if measured.latency is None:
        lines.append("Latency was not measured (`--no-latency`).")
    return "\n".join(f"- {line}" for line in lines) or "Nothing is missing."

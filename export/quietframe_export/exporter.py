"""Export a model: convert it, run the file with the runtime, compare it with Keras, keep it if it passes."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from quietframe.card import FloatLayer, Metric, ModelCard
from quietframe.errors import ModelLoadError, OutputError, QuietFrameError, UsageError
from quietframe.images import write_whole
from quietframe.tasks.base import open_model
from quietframe_export.camera_checks import Check, check_camera, is_camera
from quietframe_export.formats import TARGETS, Form, Operation, RefusedTargetError, Target, telling_line
from quietframe_export.formats.tflite import convert as convert_to_tflite
from quietframe_export.graph import OUTLIER_RATIO, TensorRange, tensor_ranges
from quietframe_export.layers_figure import layers_figure
from quietframe_export.limits import Exceeded, Latency, Limits, check_limits, measure_latency
from quietframe_export.mixed import BORDERS, EXAMPLES, Improved, TensorError, costs, improve, measure_tensors
from quietframe_export.subject import Subject
from quietframe_export.test_set import measure
from quietframe_export.verify import Answers, Comparison, answer, compare
from quietframe_train.figures import save_figure

REPORT = "export.json"
RANGE_EXAMPLES = 8
MAX_PSNR_DROP_DB = 0.3
MAX_PSNR_DROP_CAMERA_DB = 0.12
"""The gates of denoisers, unless stated otherwise."""


class Gate(NamedTuple):
    """The conditions for keeping a file: its maximum drop, whether the checks are enforced, its size and its time."""

    psnr_drop_db: float
    accuracy_drop_percent: float
    checks: bool
    limits: Limits


class Layers(NamedTuple):
    """What is done layer by layer: see `export_model`."""

    mixed: str | Sequence[str]
    explain: bool
    keras_checks: Sequence[Check]
    progress: Callable[[str], None]


class Trial(NamedTuple):
    """What a file did on the held-out frames, and why it is not kept; empty if it is."""

    reason: str
    comparisons: tuple[Comparison, ...]
    checks: tuple[Check, ...]
    operations: Sequence[Operation]


@dataclass(frozen=True)
class FileReport:
    """The outcome of one target.

    Attributes:
        target: such as `tflite-int8`.
        outcome: `passed`; `failed` (beyond the gate, or an error; not kept); `refused` (the converter cannot make it).
        file: the file's name; None unless it passed.
        reason: why it failed or was refused.
        try_next: of a file that failed, what to try.
        comparisons: the file beside Keras, once for each thing that the model does.
        checks: of a camera model, what it does with flat, slowly changing and clean frames.
        operations: the file's operators, by name and version (of ONNX and OpenVINO their opset), each
            with how often it occurs.
        float_operations: operations that touch a floating-point tensor; 0 in a full-integer file.
        calibration: of a file that was looked into layer by layer, how its ranges were chosen.
        calibrations: the ways that were tried, each with the SQNR in dB of the outputs of a file all in int8.
        tensors: the errors of its tensors in int8, worst first.
        float_layers: the layers that are in float, and what each adds; `layers`: how many there are.
        latency: what the runtime takes for a call of it on this machine; measured where there is a limit.
        test: what the file reached on the test set; measured if it passed and there is such a set.
        test_images: of how many test images that is.
    """

    target: str
    outcome: str
    file: str | None = None
    reason: str = ""
    size_bytes: int = 0
    comparisons: tuple[Comparison, ...] = ()
    checks: tuple[Check, ...] = ()
    operations: Mapping[str, int] | None = None
    float_operations: int = 0
    try_next: str = ""
    calibration: str = ""
    calibrations: Mapping[str, float] | None = None
    tensors: Sequence[TensorError] = ()
    float_layers: tuple[FloatLayer, ...] = ()
    layers: int = 0
    latency: Latency | None = None
    test: Sequence[Metric] | None = None
    test_images: int = 0


@dataclass(frozen=True)
class ExportReport:
    """The results of an export; written to `export.json`.

    Attributes:
        source_sha256: of the .keras file.
        max_psnr_drop_db, max_accuracy_drop_percent: the gates of denoisers and of classifiers.
        calibrated_with, held_out_from: which frames, in a line.
        outliers: tensors whose range is more than 30 standard deviations, widest first.
        widest: the widest tensor, outlier or not.
        keras_checks: the checks of a camera model on Keras itself.
        test_set, test_images: its name, and how many it has.
        keras_test: what Keras reached on it.
    """

    model: str
    source_sha256: str
    max_psnr_drop_db: float
    max_accuracy_drop_percent: float
    calibrated_with: str
    held_out_from: str
    files: Sequence[FileReport]
    outliers: Sequence[TensorRange]
    widest: TensorRange | None
    keras_checks: tuple[Check, ...] = ()
    test_set: str | None = None
    test_images: int = 0
    keras_test: Sequence[Metric] | None = None

    @property
    def passed(self) -> bool:
        """Return whether there is a file and none failed. A refused target beside others is not a failure."""
        outcomes = [file.outcome for file in self.files]
        return "passed" in outcomes and "failed" not in outcomes


def export_model(
    subject: Subject,
    targets: Sequence[Target],
    out: str | Path,
    *,
    max_psnr_drop_db: float | None = None,
    max_accuracy_drop_percent: float = 0.5,
    hold_to_checks: bool = True,
    form: Form | None = None,
    mixed: str | Sequence[str] = "auto",
    explain: bool = False,
    limits: Limits | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> ExportReport:
    """Export a model to some targets and verify each file against Keras.

    Each file is loaded by the runtime's engine and compared with Keras on the held-out frames. What drops
    further than the gate is not left in `out`. An error in one target is its row of the report and ends nothing;
    the report is written anew after each target.

    Args:
        subject: the model and its data.
        targets: what to make.
        out: folder for the files, `NAME.PRECISION.SUFFIX` each, of another form than the default
            `NAME.FORM.PRECISION.SUFFIX`, and `export.json`; made if missing.
        max_psnr_drop_db: the gate of denoisers, in dB, at each noise level; None: 0.12 for camera models, else 0.3.
        max_accuracy_drop_percent: the gate of classifiers, in percentage points.
        hold_to_checks: whether camera models also have to pass `camera_checks`; they are measured in any case.
        form: size, batch and more of the files; what a target does not take is another's. None: the default.
        mixed: layers of int8 files that stay in float. `auto`: where a file fails, as few as let it pass, those that
            cost most; `none`; or their names. Before that other calibrations are tried.
        explain: measure the error of each tensor of int8 files; of those that fail it always is. Also drawn, in
            `export-TARGET.png`.
        limits: the size and the time that a file may have; None: any.
        overwrite: replace files of the same names.
        progress: called with one line before each step.

    Raises:
        OutputError: a file exists and `overwrite` is off, or the folder takes no file.
        UsageError: a target needs calibration frames and there are none, or there are no files of that form, or
            a model has no such layer.
    """
    out = Path(out)
    form = form or Form()
    form.check(targets, list(TARGETS.values()))
    card = Form(form.size_wh, form.batch).card(subject.card)
    paths = {target: _paths(out, f"{card.name}{form.of(target).tag}", target) for target in targets}
    _check_output(out, [path for files in paths.values() for path in files], overwrite=overwrite)
    if not subject.calibration and (needy := [target.name for target in targets if target.calibrated]):
        raise UsageError(f"{needy[0]} needs calibration frames: name a folder of images with --calibrate")
    progress("Keras on the held-out frames")
    reference = answer(subject.engine, card, subject.held_out)
    camera = is_camera(subject.card)
    keras_checks = check_camera(subject.engine, card, subject.held_out) if camera else ()
    if max_psnr_drop_db is None:
        max_psnr_drop_db = MAX_PSNR_DROP_CAMERA_DB if camera else MAX_PSNR_DROP_DB
    gate = Gate(max_psnr_drop_db, max_accuracy_drop_percent, hold_to_checks, limits or Limits())
    layers = Layers(mixed, explain, keras_checks, progress)
    report = ExportReport(
        model=subject.card.name,
        source_sha256=subject.card.source_sha256,
        max_psnr_drop_db=max_psnr_drop_db,
        max_accuracy_drop_percent=max_accuracy_drop_percent,
        calibrated_with=subject.calibrated_with,
        held_out_from=subject.held_out_from,
        files=[],
        outliers=[],
        widest=None,
        keras_checks=keras_checks,
        test_set=subject.test.name if subject.test else None,
        test_images=len(subject.test.images) if subject.test else 0,
        keras_test=subject.test.keras if subject.test else None,
    )
    for target in targets:
        progress(target.name)
        form_of = form.of(target)
        of_target = form_of.card(replace(subject.card, precision=target.precision))
        job = _Job(subject, target, form_of, of_target, paths[target], reference, gate, layers)
        file = job.attempt()
        if file.file is None:  # an earlier file would pass for the one that is not kept
            for path in paths[target]:
                path.unlink(missing_ok=True)
        report = replace(report, files=[*report.files, file])
        _write(report, out)
        if file.tensors:
            save_figure(layers_figure(file, report.model), out / f"export-{target.name}.png")
    if subject.calibration and any(target.calibrated for target in targets):
        progress("tensor ranges")
        ranges = _ranges(subject)
        outliers = [found for found in ranges if found.ratio > OUTLIER_RATIO]
        report = replace(report, outliers=outliers, widest=ranges[0] if ranges else None)
        _write(report, out)
    return report


def _write(report: ExportReport, out: Path) -> None:
    write_whole(out / REPORT, (json.dumps(asdict(report), indent=1) + "\n").encode())


def _ranges(subject: Subject) -> Sequence[TensorRange]:
    """Measure the tensors of the float32 file; none where there is no such file, which its own row explains."""
    try:
        fp32 = convert_to_tflite(subject.engine, subject.card, "fp32")
        return tensor_ranges(fp32, subject.calibration[:RANGE_EXAMPLES])
    except Exception:  # noqa: BLE001  this only informs: no file depends on it
        return ()


@dataclass(frozen=True)
class _Job:
    """What is needed to make and judge the files of one target: see `export_model`.

    Attributes:
        card: of a file without its metrics.
        paths: of the target's files in the output folder.
        reference: what Keras answers on the held-out frames.
    """

    subject: Subject
    target: Target
    form: Form
    card: ModelCard
    paths: Sequence[Path]
    reference: Answers
    gate: Gate
    layers: Layers

    def attempt(self) -> FileReport:
        """Export the target; whatever goes wrong is its report."""
        try:
            return self._export()
        except RefusedTargetError as exc:
            return FileReport(self.target.name, "refused", reason=exc.reason)
        except (OutputError, UsageError):  # the next file cannot be written either, or has no such layer either
            raise
        except QuietFrameError as exc:
            return FileReport(self.target.name, "failed", reason=telling_line(str(exc)))
        except Exception as exc:  # noqa: BLE001  converters raise what they like
            return FileReport(self.target.name, "failed", reason=f"{type(exc).__name__}: {telling_line(str(exc))}")

    def _export(self) -> FileReport:
        subject, target, gate, card = self.subject, self.target, self.gate, self.card
        bare = target.format.convert(subject, target.precision, self.form)
        trial = self._try(bare)
        found = self._improve(bare, trial)
        if found:
            bare, trial = found.data, found.verified
            card = replace(card, float_layers=found.float_layers)
        reason, test, latency, over = trial.reason, None, None, Exceeded()
        if not reason:
            with tempfile.TemporaryDirectory() as folder:
                files = target.format.files(bare, card)
                file = self._write_files(Path(folder), files)
                if gate.limits.ms is not None:
                    latency = measure_latency(file, card, subject.held_out[0])
                over = check_limits(gate.limits, target, sum(map(len, files)), latency)
                reason = over.reason
                if subject.test and not reason:
                    test = measure(file, card, subject.test, target)
        metrics = _metrics(subject.held_out_from, trial.comparisons)
        if test:
            metrics += [replace(metric, value=round(metric.value, 5)) for metric in test.metrics]
        exceeded = [f"exceeds a check of the export: {check}" for check in trial.checks if not check.passed]
        limits = "; ".join(filter(None, [card.limits, *exceeded]))
        files = target.format.files(bare, replace(card, metrics=tuple(metrics), limits=limits))
        if not reason:
            for path, data in reversed(list(zip(self.paths, files, strict=True))):  # first what the file itself needs
                write_whole(path, data)
        return FileReport(
            target=target.name,
            outcome="failed" if reason else "passed",
            file=None if reason else self.paths[0].name,
            reason=reason,
            try_next=over.try_next or (_advice(target, trial, found, self.layers) if reason else ""),
            latency=latency,
            size_bytes=sum(map(len, files)),
            comparisons=trial.comparisons,
            checks=trial.checks,
            operations=dict(Counter(f"{operation.type} v{operation.version}" for operation in trial.operations)),
            float_operations=sum(operation.is_float for operation in trial.operations),
            calibration=found.calibration if found else "",
            calibrations=found.calibrations if found else None,
            tensors=found.errors if found else (),
            float_layers=card.float_layers,
            layers=found.layers if found else 0,
            test=test.metrics if test else None,
            test_images=test.images if test else 0,
        )

    def _write_files(self, folder: Path, files: Sequence[bytes]) -> Path:
        """Write the files of the target to another folder; returns the one that the runtime opens."""
        for path, data in zip(self.paths, files, strict=True):
            (folder / path.name).write_bytes(data)
        return folder / self.paths[0].name

    def _try(self, bare: bytes, allowed: Callable[[Operation], bool] = lambda operation: False) -> Trial:
        """Run a file as the runtime does, and say whether it is kept. allowed: float operations that it may hold."""
        target, card, held_out = self.target, self.card, self.subject.held_out
        operations = target.format.operations(bare)
        with tempfile.TemporaryDirectory() as folder:
            trial = self._write_files(Path(folder), target.format.files(bare, card))
            try:
                open_model(trial, card=card)
            except ModelLoadError as exc:  # the converter wrote what its own runtime lacks, or does not survive
                raise RefusedTargetError(target.name, str(exc).replace(f"{trial}: ", "")) from exc
            try:
                answers = answer(trial, card, held_out)
            except ModelLoadError as exc:
                raise ModelLoadError(str(exc).replace(f"{trial}: ", "")) from exc
            comparisons = compare(card, held_out, self.reference, answers)
            checks = check_camera(trial, card, held_out) if is_camera(card) else ()
        floats = [operation for operation in operations if operation.is_float and not allowed(operation)]
        return Trial(_failure(target, comparisons, checks, self.gate, floats), comparisons, checks, operations)

    def _improve(self, bare: bytes, trial: Trial) -> Improved[Trial] | None:
        """Look into a file that fails, or whose layers are asked for, and make it better; None for any other.

        A check that Keras fails, too, is not the fault of 8 bits.
        """
        layers = self.layers
        in_vain = self.gate.checks and not all(check.passed for check in layers.keras_checks)
        wanted = (trial.reason and not in_vain) or not isinstance(layers.mixed, str)
        if not (layers.explain or wanted):
            return None
        try:
            return self._look_into(bare, trial, better=bool(wanted))
        except (OutputError, UsageError):
            raise
        except Exception as exc:  # noqa: BLE001  the file is there: it is what it is
            layers.progress(f"{self.target.name} cannot be looked into layer by layer: {telling_line(str(exc))}")
            return None

    def _look_into(self, bare: bytes, trial: Trial, *, better: bool) -> Improved[Trial] | None:
        subject, target, layers = self.subject, self.target, self.layers
        quantizer = target.format.quantizer(subject, target.precision, self.form)
        if quantizer is None:
            return None
        chosen = [] if isinstance(layers.mixed, str) else layers.mixed
        if unknown := [name for name in chosen if name not in quantizer.layers]:
            names = ", ".join(quantizer.layers)
            raise UsageError(f"--mixed: {target.name} has no layer {unknown[0]!r}; it has {names}")

        def verify(data: bytes, in_float: Collection[str]) -> Trial:
            def allowed(operation: Operation) -> bool:
                return operation.type in BORDERS or quantizer.layer_of(operation.result) in in_float

            return self._try(data, allowed) if in_float else self._try(data)

        if better:
            return improve(quantizer, subject, target, verify, layers.mixed, layers.progress)
        first = quantizer.calibrations[0]
        examples = subject.calibration[:EXAMPLES]
        alone = costs(quantizer, first, examples)
        errors = measure_tensors(quantizer, quantizer.build(first), examples)
        errors = [replace(error, alone_db=alone.get(error.layer)) for error in errors]
        return Improved(bare, trial, first, {}, errors, layers=len(quantizer.layers))


def _advice(target: Target, trial: Trial, found: Improved[Trial] | None, layers: Layers) -> str:
    """Say in a line what to try with a file that is not kept."""
    dropped = any(drop > 0 for comparison in trial.comparisons for drop in [comparison.drop])
    if found and layers.mixed != "auto":
        return "let the layers that cost most stay in float: --mixed auto"
    if target.calibrated:
        others = [name for name in ("tflite-int16x8", "tflite-fp16") if name != target.name]
        return (
            "calibrate with more images of the kind that it will see (--calibrate), train with "
            f"quietframe_train.quantize_aware, or take another target: --to {','.join(others)}"
        )
    if dropped:
        return "check value_range, colour and size in the card: quietframe card MODEL --overwrite drafts it"
    return "train it further, or measure the checks without enforcing them: --no-checks"


def _failure(
    target: Target,
    comparisons: Sequence[Comparison],
    checks: Sequence[Check],
    gate: Gate,
    floats: Sequence[Operation],
) -> str:
    """Return the reason why a file is not kept; empty if it is kept. floats: its floating-point operations."""
    if target.all_integer and floats:
        types = ", ".join(sorted({operation.type for operation in floats}))
        return f"holds {len(floats)} float operations ({types}); not kept"
    for found in comparisons:
        limit, unit = (gate.psnr_drop_db, "dB") if found.unit == "psnr_db" else (gate.accuracy_drop_percent, "points")
        drops = {name: of["keras"] - of["file"] for name, of in found.groups.items()} or {"": found.drop}
        for group, drop in drops.items():
            if not drop <= limit:  # so that a NaN fails
                return f"drops {drop:.2f} {unit}{group and f' at {group}'}, more than the {limit:g} allowed; not kept"
    for check in checks:
        if gate.checks and not check.passed:
            return f"{check}; not kept"
    return ""


def _metrics(name: str, comparisons: Sequence[Comparison]) -> list[Metric]:
    """Return what a file reached on the held-out frames, over all of them and by group, and what it lost."""
    metrics = []
    for found in comparisons:
        measure, scale = ("accuracy", 100) if found.unit == "accuracy_percent" else (found.unit, 1)
        for group, of in {"": {"keras": found.keras, "file": found.file}, **found.groups}.items():
            value, drop = (round(number / scale, 5) for number in (of["file"], of["keras"] - of["file"]))
            metrics.append(Metric(name, measure, value, group, drop=drop))
    return metrics


def _paths(out: Path, stem: str, target: Target) -> list[Path]:
    """The files that a target writes, as its format lists them."""
    return [out / f"{stem}.{target.precision}{suffix}" for suffix in target.format.suffixes]


def _check_output(out: Path, paths: Sequence[Path], *, overwrite: bool) -> None:
    taken = next(filter(Path.exists, paths), None)
    if taken and not overwrite:
        raise OutputError(f"{taken}: exists; pass --overwrite to replace it, or another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{out}: cannot be made a folder ({exc.strerror or exc})") from exc

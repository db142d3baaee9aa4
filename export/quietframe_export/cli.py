"""`quietframe export`: a thin layer over `export_model`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED, ExtraCommand
from quietframe.cli.terminal import joined, stdout_console
from quietframe.errors import QuietFrameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from quietframe.card import Task
    from quietframe_export.exporter import ExportReport
    from quietframe_export.formats import Ends
    from quietframe_export.micro import CArray

_C_ARRAY, _C_ARRAY_OF = "c-array", "tflite-int8"

CUSTOM_OBJECTS = click.option(
    "--custom-objects",
    multiple=True,
    metavar="MODULE:NAME",
    help="A class or function that the .keras file is built from; MODULE may be a .py file. May be repeated.",
)
UNSAFE = click.option(
    "--unsafe",
    is_flag=True,
    help="Load Lambda layers: Python code in the .keras file, run with your rights. Only from whom you trust.",
)


@click.command(
    cls=ExtraCommand,
    short_help="Convert a trained model and verify the files.",
    extra="export",
    needs=("tensorflow", "keras", "onnx", "tf2onnx", "onnxruntime", "openvino", "matplotlib"),
)
@click.argument("model", type=click.Path(path_type=Path), metavar="RUN_OR_KERAS")
@click.option(
    "--to",
    multiple=True,
    callback=joined,
    default=["tflite-int8,onnx-fp32"],
    show_default=True,
    metavar="TARGETS",
    help="Comma-separated, or all; c-array: tflite-int8 and its C++ source for microcontrollers.",
)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Folder for the files [default: beside the model, export/]."
)
@click.option("--data", type=click.Path(path_type=Path), help="Where a run's data are now, if they moved.")
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    metavar="IMAGES",
    help="Calibrate with these, and verify a .keras file: a folder, with noisy/ and clean/ one of pairs; .npy or .npz.",
)
@click.option(
    "--card",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The card of a .keras file  [default: MODEL.card.json beside it, or else drafted]",
)
@click.option(
    "--noise",
    "--noise-sigma",
    default="gaussian:25",
    show_default=True,
    help="Of a .keras file's clean images: gaussian:LEVEL[,mean=LEVEL] of 255, uniform:SHARE of 1, or jpeg-80-420 …",
)
@CUSTOM_OBJECTS
@UNSAFE
@click.option(
    "--max-psnr-drop",
    type=float,
    metavar="DB",
    help="The gate of denoisers, at each noise level.  [default: 0.12 for camera models, else 0.3]",
)
@click.option("--max-accuracy-drop", default=0.5, show_default=True, metavar="POINTS", help="The gate of classifiers.")
@click.option(
    "--checks/--no-checks",
    "hold_to_checks",
    default=True,
    help="Enforce limits on flat, slowly changing and clean frames.  [default: yes]",
)
@click.option("--max-size", metavar="SIZE", help="The gate of files' sizes, such as 200KiB, 1.5MB or 4096 (bytes).")
@click.option(
    "--max-ms",
    type=float,
    metavar="MS",
    help="The gate of times: of the runtime's median call on this machine, at 640x480 or the file's one size.",
)
@click.option("--size", metavar="WxH", help="The one size of image that the files take.  [default: as the model]")
@click.option("--batch", default=1, show_default=True, help="How many images the files take at once.")
@click.option(
    "--ends",
    type=click.Choice(["int8", "uint8", "float32"]),
    default="int8",
    show_default=True,
    help="Type of the inputs and outputs of tflite-int8.",
)
@click.option("--nchw", is_flag=True, help="ONNX and OpenVINO files that take images with channels first.")
@click.option("--opset", default=17, show_default=True, help="Of ONNX files: 13 to 18.")
@click.option(
    "--weight-bits",
    default=24,
    show_default=True,
    help="Significant bits that weights of onnx-fp32 keep: with 9 it is half as large in an archive.",
)
@click.option(
    "--mixed",
    default="auto",
    show_default=True,
    metavar="auto|none|LAYERS",
    help="Layers of int8 files that stay in float: those that cost most until the gate is met; none; or these.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Show and draw the error of each layer of int8 files; of those that fail it always is.",
)
@click.option("--overwrite", is_flag=True, help="Replace files of the same names.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def export(
    model: Path,
    to: str,
    out: Path | None,
    data: Path | None,
    calibrate: Path | None,
    card: Path | None,
    noise: str,
    custom_objects: tuple[str, ...],
    unsafe: bool,
    max_psnr_drop: float | None,
    max_accuracy_drop: float,
    hold_to_checks: bool,
    max_size: str | None,
    max_ms: float | None,
    size: str | None,
    batch: int,
    ends: Ends,
    nchw: bool,
    opset: int,
    weight_bits: int,
    mixed: str,
    explain: bool,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Convert a trained model to TFLite and ONNX, and verify each file against Keras.

    RUN_OR_KERAS is the folder of a training, or with --calibrate any .keras or .h5 file or SavedModel folder; for
    --to c-array also a .tflite file or a built-in model. Files that drop further than the gate are not kept, and the
    exit code is 1.
    """
    from quietframe_export.formats import Form, parse_targets

    micro, to = _without_c_array(to)
    if _is_converted(model):
        if not micro or to != _C_ARRAY_OF:
            raise UsageError(f"{model}: is converted already, and takes --to {_C_ARRAY} alone")
        return _export_c_array(model, out, overwrite=overwrite, as_json=as_json)
    targets = parse_targets(to)
    form = Form(_size_wh(size), batch, ends, nchw, opset, weight_bits)
    if micro and ends != "int8":
        raise UsageError(f"{_C_ARRAY} is made of a file with int8 ends: leave --ends out")
    gates = (("--max-psnr-drop", max_psnr_drop), ("--max-accuracy-drop", max_accuracy_drop), ("--max-ms", max_ms))
    for name, value in gates:
        if value is not None and not value >= 0:
            raise UsageError(f"Expected {name} of at least 0. Received: {value}")
    if not model.exists():
        raise UsageError(f"{model}: no such run folder or .keras file")
    if card is None and model.is_file() and (model.parent / "recipe.json").is_file():
        model = model.parent  # the model.keras of a run: the run knows more
    is_run = model.is_dir() and not (model / "saved_model.pb").is_file()
    if not is_run and calibrate is None:
        raise UsageError(f"{model}: pass --calibrate IMAGES, a folder of images to calibrate with and to verify on")
    if is_run and (card is not None or custom_objects or unsafe):
        raise UsageError("--card, --custom-objects and --unsafe are for .keras files: a run folder has its own")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from quietframe_export.quiet import suppress_native_output

    folder = out or (model if is_run else model.parent) / "export"
    with suppress_native_output() as say:
        from quietframe.card import read_card_file
        from quietframe.tasks.base import card_beside
        from quietframe_export.exporter import export_model
        from quietframe_export.limits import Limits, parse_bytes
        from quietframe_export.loading import register_custom_objects
        from quietframe_export.subject import subject_from_keras, subject_from_run

        limits = Limits(None if max_size is None else parse_bytes(max_size), max_ms)
        say("loading the model and its data")
        if calibrate is None or is_run:
            subject = subject_from_run(model, data=data, calibrate=calibrate)
        else:
            register_custom_objects(custom_objects)
            stated = card or card_beside(model)
            subject = subject_from_keras(
                model,
                read_card_file(stated) if stated else None,
                calibrate=calibrate,
                noise=noise,
                unsafe=unsafe,
                progress=say,
            )
        report = export_model(
            subject,
            targets,
            folder,
            max_psnr_drop_db=max_psnr_drop,
            max_accuracy_drop_percent=max_accuracy_drop,
            hold_to_checks=hold_to_checks,
            form=form,
            mixed=mixed if mixed in ("auto", "none") else [name.strip() for name in mixed.split(",") if name.strip()],
            explain=explain,
            limits=limits,
            overwrite=overwrite,
            progress=say,
        )
        array = _write_c_array(report, folder, say, overwrite=overwrite) if micro else None
    _print(report, array, folder, subject.card.task, as_json=as_json)
    return EXIT_DONE if report.passed and not isinstance(array, str) else EXIT_FAILED


def _write_c_array(
    report: ExportReport, folder: Path, say: Callable[[str], None], *, overwrite: bool
) -> CArray | str | None:
    """Write the C++ source of the exported file, or say why not: the other files stay, and their report."""
    from quietframe_export.micro import write_c_array

    written = next((file.file for file in report.files if file.target == _C_ARRAY_OF), None)
    if written is None:
        return None
    say(_C_ARRAY)
    try:
        return write_c_array(folder / written, overwrite=overwrite)
    except QuietFrameError as exc:
        return f"{_C_ARRAY}: {exc}"


def _without_c_array(to: str) -> tuple[bool, str]:
    """Say whether c-array is among the targets, and name the others: at least the one that it is made of."""
    names = [name.strip() for name in to.split(",") if name.strip()]
    if _C_ARRAY not in names:
        return False, to
    others = [name for name in names if name != _C_ARRAY]
    return True, ",".join(others if _C_ARRAY_OF in others or "all" in others else [_C_ARRAY_OF, *others])


def _is_converted(model: Path) -> bool:
    """Return whether this is a .tflite or .onnx file, or a built-in model's name."""
    from quietframe.zoo import ALIASES, builtin_models

    return _is_runnable(model) or (not model.exists() and str(model) in {*builtin_models(), *ALIASES})


def _export_c_array(model: Path, out: Path | None, *, overwrite: bool, as_json: bool) -> int:
    """Write the C++ source of a file that is converted already."""
    import json
    from dataclasses import asdict

    from quietframe.zoo import find_model
    from quietframe_export.micro import write_c_array

    path = find_model(model)
    if out is None and path != model:
        out = Path()  # a built-in model: not into the package
    made = write_c_array(path, out, overwrite=overwrite)
    click.echo(json.dumps(asdict(made), indent=1, default=str) if as_json else "\n".join(made.lines()))
    return EXIT_DONE


def _size_wh(text: str | None) -> tuple[int, int] | None:
    from quietframe.sources.settings import size_wh

    try:
        return None if text is None else size_wh(text)
    except ValueError:
        raise UsageError(f"Expected --size such as 640x480. Received: {text!r}") from None


def _print(report: ExportReport, array: CArray | str | None, folder: Path, task: Task, *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from quietframe_export.report import checks_table, layers_table, notes, report_table, test_table

    if as_json:
        added = {"c_array": array if isinstance(array, str) else asdict(array)} if array else {}
        record = asdict(report) | added
        click.echo(json.dumps(record, indent=1, default=str))
        return
    console = stdout_console()
    of_layers = map(layers_table, report.files)
    for table in filter(None, (report_table(report), *of_layers, checks_table(report), test_table(report))):
        console.print(table)
    of_array = [] if array is None else [array] if isinstance(array, str) else array.lines()
    for line in (*notes(report), *of_array, *_next_command(report, folder, task)):
        click.echo(line, err=True)


def _next_command(report: ExportReport, folder: Path, task: Task) -> list[str]:
    """Say where the files are and how to run the first one; nothing without a file."""
    files = [file.file for file in report.files if file.file is not None]
    verb = "classify" if task == "classify" else "denoise"
    return [f"written to {folder}; run it: quietframe {verb} IMAGE --model {folder / files[0]}"] if files else []


@click.command(cls=ExtraCommand, short_help="Draft the card of a model.", extra="export", needs=())
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--task", type=click.Choice(["denoise", "classify", "denoise+classify"]), help="What the model does.")
@click.option(
    "--labels", type=click.Path(path_type=Path), metavar="FILE", help="Labels of a classifier, one a line, in order."
)
@CUSTOM_OBJECTS
@UNSAFE
@click.option("--out", "-o", type=click.Path(path_type=Path), help="The card  [default: MODEL.card.json beside it]")
@click.option("--overwrite", is_flag=True, help="Replace a card of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print the card, the guesses in it and its file as JSON.")
def card(
    model: Path,
    task: Task | None,
    labels: Path | None,
    custom_objects: tuple[str, ...],
    unsafe: bool,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Draft the card of MODEL, and name the fields that are guesses.

    MODEL is a .keras, .h5, .tflite or .onnx file or a SavedModel folder.
    """
    import json

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from quietframe.errors import OutputError
    from quietframe.images import write_whole
    from quietframe_export.draft import draft_card
    from quietframe_export.quiet import suppress_native_output

    path = out or model.with_suffix(".card.json")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; pass --overwrite to replace it, or another --out")
    names = _read_labels(labels) if labels else []
    with suppress_native_output():
        if custom_objects:
            from quietframe_export.loading import register_custom_objects

            register_custom_objects(custom_objects)
        drafted, guesses = draft_card(model, task=task, labels=names, unsafe=unsafe)
    write_whole(path, (drafted.to_json() + "\n").encode(), overwrite=overwrite)
    if as_json:
        click.echo(json.dumps({"file": str(path), "guesses": guesses, "card": json.loads(drafted.to_json())}, indent=1))
        return EXIT_DONE
    click.echo(path)
    for line in guesses:
        click.echo(f"guessed {line}", err=True)
    used = f" --card {path}" if out else ""
    verb = "classify" if drafted.task == "classify" else "denoise"
    following = f"{verb} IMAGE --model {model}" if _is_runnable(model) else f"export {model} --calibrate IMAGES"
    click.echo(f"check the card, then: quietframe {following}{used}", err=True)
    return EXIT_DONE


def _is_runnable(model: Path) -> bool:
    """Return whether the runtime opens a file of this name."""
    from quietframe.engines import ENGINES

    return model.suffix.lower() in ENGINES


def _read_labels(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(f"{path}: cannot read the labels ({reason})") from exc

"""`quietframe models` and `quietframe info`: what the models are and what their cards say."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED, NO_ISOLATE
from quietframe.cli.terminal import json_line, print_table, printable, say
from quietframe.descriptors import suppress_native_output
from quietframe.errors import QuietFrameError

if TYPE_CHECKING:
    from quietframe.card import ModelCard, TensorSpec
    from quietframe.engines import Engine, TensorInfo

_LONG = 100
"""Characters of a fact that still fit on one line."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list with an object for each model.")
def models(as_json: bool) -> int:
    """List the built-in models."""
    from quietframe.metrics import headline
    from quietframe.tasks.base import open_model
    from quietframe.zoo import ALIASES, builtin_models

    records, broken = [], 0
    for name, path in builtin_models().items():
        try:
            with suppress_native_output():
                _, card = open_model(path, threads=1)
        except QuietFrameError as exc:
            say(str(exc))
            broken += 1
            continue
        records.append(
            {
                "name": name,
                "short_names": [alias for alias, target in ALIASES.items() if target == name],
                "file": str(path),
                "task": card.task,
                "precision": card.precision,
                "file_bytes": path.stat().st_size,
                "parameters": card.parameters,
                "data": asdict(card.data),
                "license": card.license,
                "images": _size(card),
                "measured": headline(card.metrics),
                "metrics": [asdict(metric) for metric in card.metrics],
            }
        )
    if as_json:
        click.echo(json_line(records, indent=1))
    elif records:
        _print_models(records)
    return EXIT_FAILED if broken or not records else EXIT_DONE


def _print_models(records: list[dict[str, Any]]) -> None:
    columns = ("name", "task", ">size kB", "images", "measured")
    rows = []
    by_data: dict[str, list[str]] = {}
    for record in records:
        size = f"{record['file_bytes'] / 1000:,.1f}"
        rows.append((record["name"], record["task"], size, record["images"].partition(";")[0], record["measured"]))
        by_data.setdefault(f"{record['data']['name']}: {record['data']['terms']}", []).append(record["name"])
    print_table(columns, rows)
    aliases = [f"{alias} is {record['name']}" for record in records for alias in record["short_names"]]
    click.echo(f"Short names: {', '.join(aliases)}.")
    for name in (record["name"] for record in records if record["precision"] == "fp32"):
        click.echo(f"{name} is {name.partition('.')[0]} in floats, for ONNX Runtime: it keeps images of 16 bits.")
    click.echo("Trained on, and the terms of these data (in brackets: of how many images):")
    for data, names in by_data.items():
        click.echo(f"\n{', '.join(names)}:\n  {data}")


@click.command(short_help="Show a model's metadata.")
@click.argument("model")
@click.option("--card", type=click.Path(path_type=Path), help="A card in a JSON file, to override the one inside.")
@NO_ISOLATE
@click.option("--json", "as_json", is_flag=True, help="Print JSON: file, card (or null), inputs and outputs.")
def info(model: str, card: Path | None, as_json: bool) -> None:
    """Show the metadata of MODEL, a built-in name or a .tflite, .onnx, OpenVINO .xml or .keras file."""
    from quietframe.tasks.base import card_beside, open_engine, open_model
    from quietframe.zoo import find_model

    path = find_model(model)
    if path.suffix.lower() == ".keras":
        _info_of_keras(path, card or card_beside(path), as_json=as_json)
        return
    with suppress_native_output():
        engine = open_engine(path, threads=1)
        has_card = bool(card or engine.card_json is not None or card_beside(path))
        found = open_model(path, threads=1, card=card)[1] if has_card else None
    if as_json:
        record = {
            "file": str(path),
            "file_bytes": path.stat().st_size,
            "card": found and json.loads(found.to_json()),
            "inputs": [_tensor_record(tensor) for tensor in engine.inputs.values()],
            "outputs": [_tensor_record(tensor) for tensor in engine.outputs.values()],
        }
        click.echo(json_line(record, indent=1))
        return
    facts = [("file", printable(str(path))), ("size", f"{path.stat().st_size / 1000:,.1f} kB")]
    facts += (
        _card_facts(found) if found else [("card", "none: write one (docs/model-card.md), pass it with --card FILE")]
    )
    _print_facts(facts)
    if found:
        _print_metrics(found)
    _print_tensors(engine, found)


def _info_of_keras(path: Path, card: Path | None, *, as_json: bool) -> None:
    from quietframe.card import read_card_file
    from quietframe.keras_file import read_keras_file

    model = read_keras_file(path)
    stated = read_card_file(card) if card else None
    if as_json:
        record = {"file": str(path), "file_bytes": path.stat().st_size, "card": stated and json.loads(stated.to_json())}
        click.echo(json_line(record | asdict(model), indent=1))
        return
    shapes = [
        f"{name} {' × '.join('any' if size is None else str(size) for size in of)}" for name, of in model.inputs.items()
    ]
    _print_facts(
        [
            ("file", printable(str(path))),
            ("size", f"{path.stat().st_size / 1000:,.1f} kB"),
            ("model", f"{model.name}, {model.kind}"),
            ("saved", f"by Keras {model.keras_version}, {model.saved}"),
            ("inputs", "; ".join(shapes) or "not stated"),
            ("layers", f"{sum(model.layers.values())}: {'; '.join(f'{n} {name}' for name, n in model.layers.items())}"),
            *([("custom objects", ", ".join(model.custom))] if model.custom else []),
            *(_card_facts(stated) if stated else [("card", "none: quietframe card drafts one")]),
            ("next", f"quietframe export {printable(str(path))} --calibrate IMAGES"),
        ]
    )


def _print_facts(facts: list[tuple[str, str]]) -> None:
    for name, value in facts:
        text = value if len(value) <= _LONG else value.replace("; ", f";\n{'':<19}")  # goes on below, part by part
        click.echo(f"{name:<18} {text}")


def _card_facts(card: ModelCard) -> list[tuple[str, str]]:
    """The card, field by field; empty ones are left out."""
    facts = [
        ("name", card.name),
        ("task", card.task),
        ("recipe", card.recipe),
        ("precision", card.precision),
        ("parameters", f"{card.parameters:,}"),
        ("work", f"{card.macs_per_pixel:,.0f} multiply-adds per pixel"),
        ("images", _size(card)),
        ("noise level", "an input of the model" if card.conditioning == "sigma" else "not used"),
        ("trained on noise", card.noise),
        ("trained on data", card.data.name),
        ("terms of the data (of how many images)", card.data.terms),
        ("license", card.license),
        ("labels", ", ".join(card.labels)),
        ("layers in float", ", ".join(layer.name for layer in card.float_layers)),
        ("limits", card.limits),
        ("made with", ", ".join(f"{name} {version}" for name, version in card.created_with.items())),
        ("trained", ", ".join(f"{name} {value}" for name, value in card.trained.items())),
        ("made from", card.source_sha256 and f"a .keras file with SHA-256 {card.source_sha256}"),
        *((name, json.dumps(value, ensure_ascii=False)) for name, value in card.extra.items()),
    ]
    return [(name, value) for name, value in facts if value]


def _size(card: ModelCard) -> str:
    """Which images a model takes, and what happens to others."""
    image, spatial = card.tensor("image", "inputs"), card.spatial
    colour = "gray" if image and image.colour == "GRAY" else "colour"
    if spatial.kind == "fixed" and spatial.size_hw:
        height, width = spatial.size_hw
        how = "others are cut into tiles"
        if spatial.fit == "resize":
            back = " and back, so that larger ones lose their finer detail" if "denoise" in card.task else ""
            how = f"others are resized{back}"
        return f"{width}x{height} {colour}; {how}"
    padded = f"; padded to multiples of {spatial.multiple}" if spatial.multiple > 1 else ""
    return f"any size, {colour}{padded}"


def _print_metrics(card: ModelCard) -> None:
    from quietframe.metrics import by_set, metric_table

    for name, metrics in by_set(card.metrics).items():
        arrow = ", noisy → denoised" if any(metric.noisy is not None for metric in metrics) else ""
        click.echo(f"\nmeasured on {name}{arrow}")
        print_table(*metric_table(metrics))


def _print_tensors(engine: Engine, card: ModelCard | None) -> None:
    rows = []
    for side in ("inputs", "outputs"):
        specs = {spec.name: spec for spec in getattr(card, side, ())}
        for tensor in (tensor.declared for tensor in getattr(engine, side).values()):
            shape = " × ".join("any" if size is None else str(size) for size in tensor.shape)
            quantized = f"{tensor.scale:.6g} · (q − {tensor.zero_point})" if tensor.scale else ""
            rows.append((side[:-1], tensor.name, shape, tensor.dtype.name, quantized, _meaning(specs.get(tensor.name))))
    click.echo()
    print_table(("", "tensor", "shape", "type", "real value", "carries"), rows)


def _meaning(spec: TensorSpec | None) -> str:
    if spec is None:
        return ""
    low, high = spec.value_range
    stride = f"1/{spec.stride} size" if spec.stride > 1 else ""
    return " ".join(filter(None, (spec.role, spec.colour, spec.layout, f"{low:g} to {high:.4g}", stride)))


def _tensor_record(tensor: TensorInfo) -> dict[str, Any]:
    return asdict(tensor.declared) | {"dtype": tensor.declared.dtype.name}

"""The lines of runs over speed and formats as CSV, for spreadsheets, and as Markdown, for documents."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from quietframe_bench.formats_report import flat, format_markdown
from quietframe_bench.results.markdown import table
from quietframe_bench.timing import PERCENTILES, STAGES

Line = Mapping[str, Any]

_PLAIN = (
    "name", "precision", "engine", "task", "threads", "error", "parameters", "macs", "import_ms", "load_ms",
    "first_frame_ms", "peak_rss_mb", "steady_rss_mb", "total_over_engine_p50", "frames_per_s_p50", "spread",
    "noisy_machine",
)  # fmt: skip


def to_csv(lines: Sequence[Line]) -> str:
    """A row for each line, its figures in columns whose names hold the unit; raw samples are in JSON alone."""
    table = [_flat(line) for line in lines if line["kind"] == "speed"]
    table += [flat(line) for line in lines if line["kind"] == "formats"]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in table for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


def _flat(line: Line) -> dict[str, Any]:
    width, height = line["size_wh"] or (None, None)
    row = {"file": line["model"]["file"], "file_bytes": line["model"]["file_bytes"], "sha256": line["model"]["sha256"]}
    row |= {"width": width, "height": height, **{name: line.get(name) for name in _PLAIN}}
    for stage in STAGES:
        times = line.get("stages", {}).get(stage, {})
        row |= {f"{stage}_p{percent}_ms": times.get(f"p{percent}_ms") for percent in PERCENTILES}
    commit = line["commit"] or {}
    row |= {"runs": sum(line["round_runs"]), "finished_utc": line["finished_utc"]}
    return row | {"cpu": line["machine"]["cpu"], "commit": commit.get("sha"), "dirty": commit.get("dirty")}


def to_markdown(lines: Sequence[Line]) -> str:
    """Tables with what matters most; that of speed under a line for each machine that it was measured on."""
    of_speed = [line for line in lines if line["kind"] == "speed"]
    measured = [line for line in of_speed if line["error"] is None]
    text = [*dict.fromkeys(map(where, measured))]
    if measured:
        text.append(table(list(_COLUMNS), [[cell(line) for cell in _COLUMNS.values()] for line in measured]))
    text += [
        f"Failed: `{line['model']['file']}`: {' '.join(line['error'].split())}" for line in of_speed if line["error"]
    ]
    text += format_markdown(lines)
    return "\n\n".join(text) + "\n"


def where(line: Line) -> str:
    """What a line was measured on, in words."""
    machine, versions = line["machine"], line["versions"]
    names = ("quietframe", "ai-edge-litert", "onnxruntime")
    software = ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
    commit = line["commit"]
    at = f", commit {commit['sha'][:10]}{' with changes' if commit['dirty'] else ''}" if commit else ""
    board = f"{machine['board']}, " if machine["board"] else ""
    return f"{board}{machine['cpu']}, {machine['physical_cores']} cores; Python {versions['python']}, {software}{at}."


_COLUMNS: Mapping[str, Callable[[Line], str]] = {
    "model": lambda line: f"`{line['model']['file']}`",
    "size": lambda line: "×".join(map(str, line["size_wh"])),
    "threads": lambda line: str(line["threads"]),
    "engine ms": lambda line: f"{line['stages']['engine']['p50_ms']:.2f}",
    "total ms": lambda line: f"{line['stages']['total']['p50_ms']:.2f}",
    "p95 ms": lambda line: f"{line['stages']['total']['p95_ms']:.2f}",
    "fps": lambda line: f"{line['frames_per_s_p50']:.1f}",
    "spread": lambda line: f"{line['spread']:.1%}{' (noisy machine)' if line['noisy_machine'] else ''}",
    "peak MB": lambda line: f"{line['peak_rss_mb']:.0f}",
    "file MB": lambda line: f"{line['model']['file_bytes'] / 1e6:.3f}",
}

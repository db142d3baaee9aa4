"""The sections of the page: each is made of lines of some kinds, and is left out where there are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from quietframe_bench.page import plots
from quietframe_bench.page.tables import Cell, number, table
from quietframe_bench.scaling import pixel_exponents, speedups
from quietframe_bench.speed import NOISY_SPREAD
from quietframe_bench.tabular import where

Line = Mapping[str, Any]
Section = Callable[[Sequence[Line]], str]


def speed(lines: Sequence[Line]) -> str:
    """Times and costs of each row."""
    if not any(line["kind"] == "speed" for line in lines):
        return ""
    head = ("model", "size", "threads", "pre ms", "engine ms", "post ms", "total ms", "p95 ms", "fps", "total/engine")
    rows = []
    for line in _good(lines):
        stages = line["stages"]
        rows.append(
            [
                *_what(line),
                *(number(stages[stage]["p50_ms"], ".2f") for stage in ("pre", "engine", "post", "total")),
                number(stages["total"]["p95_ms"], ".2f"),
                number(line["frames_per_s_p50"], ".1f"),
                number(line[f"total_over_engine_{'mean' if line['settings'].get('video_fps') else 'p50'}"], ".3f"),
                number(line["spread"], ".1%", marked=line["noisy_machine"]),
            ]
        )
    times = table("Medians in milliseconds a frame.", [*head, "spread"], rows)
    costs = table(
        "Load and first frame in a process of its own, its memory, and the work of one frame.",
        ("model", "size", "threads", "load ms", "first ms", "peak MB", "steady MB", "file MB", "MMAC", "GMAC/s"),
        [
            [
                *_what(line),
                *(number(line[name], ".1f") for name in ("load_ms", "first_frame_ms")),
                *(number(line[name], ".0f") for name in ("peak_rss_mb", "steady_rss_mb")),
                number(line["model"]["file_bytes"] / 1e6, ".3f"),
                number(line["macs"] / 1e6, ".0f"),
                number(line["macs"] / line["stages"]["engine"]["p50_ms"] / 1e6, ".1f"),
            ]
            for line in _good(lines)
        ],
    )
    noisy = (
        f'<p class="mark">Where the spread is above {NOISY_SPREAD:.0%}, the machine did other things meanwhile.</p>'
        if any(line["noisy_machine"] for line in _good(lines))
        else ""
    )
    failed = "".join(
        f'<p class="mark">Failed: {escape(line["model"]["file"])}: {escape(line["error"])}</p>'
        for line in lines
        if line["kind"] == "speed" and line["error"]
    )
    return noisy + times + costs + failed


def latency(lines: Sequence[Line]) -> str:
    """Distributions of the total time."""
    good = _good(lines)
    return (
        "<p>Boxes hold the middle half of all frames, the strong tick is the median, thin lines reach from the 1st to "
        f"the 99th percentile.</p>{plots.latencies(good)}"
        if good
        else ""
    )


def growth(lines: Sequence[Line]) -> str:
    """Time against pixels, and threads."""
    good = _good(lines)
    exponents, gains = pixel_exponents(good), speedups(good)
    parts = []
    if exponents:
        rows: list[list[Cell | str]] = [
            [model, str(threads), number(value, ".2f")] for (model, threads), value in exponents.items()
        ]
        parts += [
            plots.growth([line for line in good if (line["model"]["file"], line["threads"]) in exponents]),
            table("Time grows with pixels to this power; 1 is in proportion.", ("model", "threads", "exponent"), rows),
        ]
    if gains:
        counts = sorted({count for by_threads in gains.values() for count in by_threads})
        rows = [
            [
                model,
                Cell(f"{width}×{height}", width * height),
                *(number(by_threads.get(count), ".2f") for count in counts),
            ]
            for (model, (width, height)), by_threads in gains.items()
        ]
        head = ("model", "size", *(f"{count} threads" for count in counts))
        parts.append(table("Times as fast as with the fewest threads.", head, rows))
    return "".join(parts)


def machine(lines: Sequence[Line]) -> str:
    """What it was measured on, by each machine and version that took part."""
    parts = []
    for text, line in {where(line): line for line in lines}.items():
        about = line["machine"]
        told = {
            "board": about["board"],
            "processor": about["cpu"],
            "cores": f"{about['physical_cores']} physical, {about['logical_cores']} logical, {about['architecture']}",
            "memory": f"{about['memory_mb'] / 1000:.1f} GB" if about["memory_mb"] else None,
            "clock, governor": ", ".join(str(about[name]) for name in ("clock_mhz", "governor") if about[name]) or None,
            "system": about["system"],
            "measured with": text.partition("; ")[2],
            "load before": f"{about['load_1min']:g}",
        }
        items = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in told.items() if value)
        parts.append(f"<dl>{items}</dl>")
    return "".join(parts)


def settings(lines: Sequence[Line]) -> str:
    """How it was measured: every setting, by kind."""
    parts = []
    for kind, values in {line["kind"]: line["settings"] for line in lines if line["settings"]}.items():
        told = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
        items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in told.items())
        parts.append(f"<details><summary>{escape(kind)}</summary><dl>{items}</dl></details>")
    return "".join(parts)


def operators(lines: Sequence[Line]) -> str:
    """Where the time of a frame goes, operator by operator."""
    rows = [line for line in lines if line["kind"] in ("operators", "roof") and line.get("operators")]
    parts = [plots.operators(rows)] if rows else []
    head = ("#", "operator", "layer", "output", "ms", "share", "MMAC", "GMAC/s", "GB/s")
    for line in rows:
        cells: list[list[Cell | str]] = [
            [
                number(one["index"], "d"),
                Cell(one["kind"], words=True),
                Cell(one["name"], words=True),
                "×".join(map(str, one["output_shape"])),
                number(one["median_ms"], ".3f"),
                number(one["share"], ".1%"),
                number(one["macs"] / 1e6 if one["macs"] else None, ".2f"),
                number(one["gmacs_per_s"], ".1f"),
                number(one["gbytes_per_s"], ".1f"),
            ]
            for one in line["operators"]
        ]
        parts.append(
            f"<details><summary>{escape(plots.label(line))}</summary>{table(line['profile_source'] or '', head, cells)}"
            f"{''.join(f'<p>{escape(note)}</p>' for note in line['notes'])}</details>"
        )
    return "".join(parts)


def roof(lines: Sequence[Line]) -> str:
    """What the machine can do at most, and how much of it each model reaches."""
    found = [line for line in lines if line["kind"] == "roof" and line["error"] is None]
    peaks = [line for line in found if line["row"] == "peak"]
    models = [line for line in found if line["row"] == "model" and line["reached"]]
    if not peaks:
        return ""
    measured = table(
        "The fastest that this machine multiplies, through the engines.",
        ("engine", "precision", "threads", "GMAC/s", "best trial"),
        [
            [
                one["engine"],
                one["precision"],
                number(one["threads"], "d"),
                number(one["gmacs_per_s"], ".0f"),
                one["best"],
            ]
            for one in peaks
        ],
    )
    shares = table(
        "Multiply-accumulates by engine time, against the peak of the same engine, arithmetic and threads.",
        ("model", "size", "threads", "GMAC/s", "of the peak"),
        [
            [*_what(one), number(one["reached"]["gmacs_per_s"], ".0f"), number(one["reached"]["of_peak"], ".1%")]
            for one in models
        ],
    )
    return measured + shares + "".join(plots.roofline(one, found) for one in models)


def cold_start(lines: Sequence[Line]) -> str:
    """From nothing to the first frame."""
    steps = ("process_ms", "import_ms", "load_ms", "first_frame_ms", "ready_ms")
    rows = [
        [*_what(line), *(number(line[step], ".1f") for step in steps), number(line["rss_mb"], ".0f")]
        for line in lines
        if line["kind"] == "startup" and line["error"] is None
    ]
    head = ("model", "size", "threads", "process ms", "import ms", "load ms", "first frame ms", "sum ms", "MB then")
    return table("Medians over fresh processes.", head, rows) if rows else ""


def sustained(lines: Sequence[Line]) -> str:
    """The first minute of a run without a pause against its last."""
    ran = [line for line in lines if line["kind"] == "sustained" and line["error"] is None]
    rows = [
        [*_what(line), *(number(line[name], digits) for name, digits in zip(_ENDS, (".2f", ".2f", ".3f"), strict=True))]
        for line in ran
    ]
    caption = "Medians of the first and last minute, or of half the time where there are less than two."
    head = ("model", "size", "threads", "first ms", "last ms", "last/first")
    return table(caption, head, rows) + plots.sustained(ran) if ran else ""


def live(lines: Sequence[Line]) -> str:
    """The real-time loop behind a paced source."""
    names = ("age_p50_ms", "age_p95_ms", "age_p99_ms", "engine_p50_ms", "busy_p50_ms", "overhead_mean_ms")
    rows = [
        [
            line["model"]["file"],
            "none" if line["preview_clients"] is None else f"{line['preview_clients']} looking",
            *(number(line[name], "d") for name in ("captured", "dropped")),
            *(number(line[name], ".1f") for name in names),
            number(line["overhead_mean_of_engine"], ".1%"),
        ]
        for line in lines
        if line["kind"] == "live" and line["error"] is None
    ]
    head = (
        "model",
        "preview",
        "captured",
        "dropped",
        "age p50 ms",
        "p95",
        "p99",
        "engine ms",
        "loop ms",
        "overhead ms",
    )
    return table("Ages from capture to sink; medians of engine and loop.", [*head, "of engine"], rows) if rows else ""


def accuracy(lines: Sequence[Line]) -> str:
    """How often classifiers are right."""
    rows: list[list[Cell | str]] = [
        [
            line["model"]["file"],
            number(line["images"], "d"),
            number(line["accuracy"], ".4f"),
            Cell("{:.4f} to {:.4f}".format(*line["accuracy_95"]), line["accuracy_95"][0]),
            number(line["total_p50_ms"], ".2f"),
        ]
        for line in lines
        if line["kind"] == "accuracy" and "accuracy" in line
    ]
    head = ("model", "pictures", "accuracy", "95 % interval", "ms a picture")
    return table("Share of right answers, with Wilson's interval.", head, rows) if rows else ""


def quality(lines: Sequence[Line]) -> str:
    """PSNR and SSIM of each model at each noise level, beside its time, and what is both quick and good."""
    judged = [line for line in lines if line["kind"] == "quality" and line.get("psnr_db") is not None]
    if not judged:
        return ""
    times_ms = fastest_ms(lines)
    rows: list[list[Cell | str]] = [
        [
            line["contender"],
            number(line["sigma_255"], "g"),
            number(line["images"], "d"),
            number(line["psnr_db"], ".2f"),
            number(line["ssim"], ".4f"),
            number(time_ms(line, times_ms), ".2f"),
        ]
        for line in judged
    ]
    head = ("denoiser", "sigma", "images", "PSNR dB", "SSIM", "ms a frame")
    caption = (
        "Means over the pictures with 8-bit noise; models estimate its level unless they are told. Times are those "
        "of the first size."
    )
    return table(caption, head, rows) + plots.front(judged, [time_ms(line, times_ms) for line in judged])


def time_ms(line: Line, times_ms: Mapping[str, float]) -> float | None:
    """What a frame took a row of quality: as it says itself, beside peers, or as its model's rows of speed say."""
    known: float | None = line.get("total_p50_ms")
    return known if known is not None or not line["model"] else times_ms.get(line["model"]["sha256"])


def fastest_ms(lines: Sequence[Line]) -> dict[str, float]:
    """By the hash of a model's file: its median total time at the first size, with the threads it is fastest with."""
    times: dict[str, tuple[Any, float]] = {}
    for line in lines:
        if line["kind"] == "speed" and line["error"] is None:
            sha256, size, ms = line["model"]["sha256"], line["size_wh"], line["stages"]["total"]["p50_ms"]
            first_size, best = times.get(sha256, (size, ms))
            times[sha256] = first_size, min(best, ms) if size == first_size else best
    return {sha256: ms for sha256, (_, ms) in times.items()}


def pictures(lines: Sequence[Line]) -> str:
    """Before and after."""
    shown = [line for line in lines if line["kind"] == "picture"]
    figures = []
    for line in shown:
        name = line["model"]["file"] if line["model"] else "noisy" if line["sigma_255"] else "clean"
        if line["error"]:
            figures.append(
                f'<figure><figcaption class="mark">{escape(name)}: {escape(line["error"])}</figcaption></figure>'
            )
            continue
        of_psnr = "" if line["psnr_db"] is None else f", {line['psnr_db']:.2f} dB"
        figures.append(
            f'<figure><img alt="{escape(name)}" src="data:image/jpeg;base64,{line["jpeg_base64"]}">'
            f"<figcaption>{escape(name)}{of_psnr}</figcaption></figure>"
        )
    level = max((line.get("sigma_255") or 0 for line in shown), default=0)
    text = f"<p>A part of the bundled photograph with white noise, σ {level:g}; the models estimate it.</p>"
    return f'{text}<div class="pictures">{"".join(figures)}</div>' if figures else ""


def _what(line: Line) -> list[Cell | str]:
    width, height = line["size_wh"]
    size = Cell(f"{width}×{height}", width * height)
    return [line["model"]["file"], size, number(line["threads"], "d")]


def _good(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line["kind"] == "speed" and line["error"] is None]


_ENDS = ("first_p50_ms", "last_p50_ms", "last_over_first")

SECTIONS: Sequence[tuple[str, str, Section]] = (
    ("speed", "Speed", speed),
    ("latency", "How the times lie", latency),
    ("growth", "Pixels and threads", growth),
    ("operators", "Where the time goes", operators),
    ("roof", "The roof", roof),
    ("cold-start", "Cold start", cold_start),
    ("sustained", "Without a pause", sustained),
    ("live", "The real-time loop", live),
    ("quality", "Quality and time", quality),
    ("accuracy", "Accuracy", accuracy),
    ("pictures", "Before and after", pictures),
)
"""(anchor, title, what makes it of all lines), in their order."""

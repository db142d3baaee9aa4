"""The quality on real camera noise for people (a table, notes) and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import RenderableType

from quietframe_bench.camera_quality import LEVELS_255, Gains, PairsFound, PairsSettings
from quietframe_bench.classical import METHODS
from quietframe_bench.image_quality import QualityRow
from quietframe_bench.report import new_table


def pairs_tables(found: PairsFound, settings: PairsSettings) -> list[RenderableType]:
    """Each contender on the half to report on, and the notes."""
    table = new_table(
        "contender", "pairs", "PSNR dB", "gain dB", "gaining", "worst dB", "SSIM", "estimated sigma", "worst pair"
    )
    table.title = (
        "real camera noise: mean over the pairs to report on; 8-bit frames in and out; gaining: share of pairs"
    )
    for row in found.rows:
        gains = found.gains(row)
        psnr_db, ssim, estimated = (row.mean(name) for name in ("psnr_db", "ssim", "estimated_sigma_255"))
        if psnr_db is None or ssim is None:
            table.add_row(row.name, "0", "failed")
            continue
        table.add_row(
            row.name,
            str(len(row.figures)),
            f"{psnr_db:.2f}",
            *(("", "", "") if gains is None else _gain_cells(gains)),
            f"{ssim:.4f}",
            "" if estimated is None else f"{estimated:.1f}",
            "" if gains is None else gains.worst_pair,
        )
    return [table, *(f"- {note}" for note in notes(found, settings))]


def _gain_cells(gains: Gains) -> tuple[str, str, str]:
    return f"{gains.gain_db:+.2f}", f"{gains.gaining_share:.0%}", f"{gains.worst_gain_db:+.2f}"


def row_record(found: PairsFound, row: QualityRow) -> dict[str, Any]:
    """Return a row for JSON, its gains included."""
    gains = found.gains(row)
    return row.as_record() | (asdict(gains) if gains else {})


def notes(found: PairsFound, settings: PairsSettings) -> list[str]:
    """How the figures came about."""
    noisy_end, clean_end = settings.rule.suffixes
    rule = "the last part of a name that begins with a letter" if settings.rule.scene is None else settings.rule.scene
    same = "; ".join(f"{name} counts as {other}" for name, other in settings.rule.same.items())
    levels = ", ".join(f"{level_255:g}" for level_255 in LEVELS_255)
    said = [
        f"A pair: NAME{noisy_end}.* with the camera's noise, NAME{clean_end}.* without.",
        f"Split by scene ({rule}{f'; {same}' if same else ''}), so that none is in both halves; cameras can be. "
        f"{_half(found, 'choose')}; {_half(found, 'report')}.",
        "Models estimate the noise level in every frame. 'constant level': told the one level that is best by mean "
        f"PSNR on the pairs to choose on, of {levels}: the difference is what the estimate costs.",
    ]
    if found.choices:
        grids = "; ".join(f"{choice.method}: {METHODS[choice.method].grid_says}" for choice in found.choices)
        chosen = "; ".join(
            f"{choice.method}: {', '.join(f'{name} {value:g}' for name, value in (choice.setting or {}).items())}"
            for choice in found.choices
        )
        said += [
            f"'best setting': of a small grid, by mean PSNR on {found.choices[0].images} of the pairs to choose on. "
            f"The grid: {grids}. Chosen: {chosen}.",
            "'textbook': the setting of OpenCV's tutorials.",
        ]
    return said


def pairs_record(found: PairsFound, settings: PairsSettings) -> dict[str, Any]:
    """What the document holds besides the rows."""
    return {
        "pairs": {
            "scenes": found.halves.scenes,
            "choose": [pair.name for pair in found.halves.choose],
            "report": [pair.name for pair in found.halves.report],
            "every": found.every,
            "grids": [choice.as_record() for choice in found.choices],
            "levels": [level.as_record() for level in found.levels],
            "notes": notes(found, settings),
        }
    }


def _half(found: PairsFound, name: str) -> str:
    scenes = found.halves.scenes[name]
    listed = ", ".join(f"{scene} {count}" for scene, count in scenes.items())
    return f"To {name} on: {sum(scenes.values())} pairs ({listed})"

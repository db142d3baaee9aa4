"""`quietframe demo`: what QuietFrame does, shown on images that come with it."""

from __future__ import annotations

from pathlib import Path

import click

from quietframe.cli.terminal import print_table, say
from quietframe.descriptors import suppress_native_output


@click.command(short_help="See it work: a photograph, a clip, digits.")
@click.option(
    *("-o", "--out", "folder"),
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where before-after.png and clip.mp4 go.",
)
@click.option("--overwrite", is_flag=True, help="Replace these files if they exist.")
def demo(folder: Path, overwrite: bool) -> None:
    """Denoise a bundled photograph, a clip and digits, and measure it. Needs no camera and no network."""
    from quietframe.demo import run_demo

    with suppress_native_output():
        result = run_demo(folder, overwrite=overwrite)
    rows = [
        (
            f"{row.what}: {row.model}",
            f"{row.model_bytes / 1000:.0f}",
            row.before,
            row.after,
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            f"{row.fps:.0f}",
        )
        for row in result.rows
    ]
    print_table(("", ">kB", ">noisy", ">denoised", ">p50 ms", ">p95 ms", ">fps"), rows, names=False)
    if (peak_mb := result.rows[-1].peak_rss_mb) is not None:
        click.echo(f"peak memory: {peak_mb} MB")
    for path in result.files:
        click.echo(path)
    for note in result.notes:
        say(note)

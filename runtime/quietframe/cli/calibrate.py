"""`quietframe calibrate`: measure a camera's noise."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED
from quietframe.cli.terminal import json_line, print_table, say
from quietframe.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from quietframe.camera import CameraProfile

_LEFT_OUT = 15  # frames of a camera that are left out after its view has changed: buffers, exposure
_NOTABLE = 0.15


@click.command(short_help="Measure the noise of a camera.")
@click.argument("source")
@click.option("--dark", metavar="SOURCE", help="A recording, or a folder of shots, with the lens covered.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("camera.json"), show_default=True)
@click.option("--frames", type=click.IntRange(16, 1000), default=64, show_default=True, help="How many to measure.")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the noise by brightness (.png, .svg)."
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
def calibrate(
    source: str, dark: str | None, out: Path, frames: int, plot: Path | None, overwrite: bool, as_json: bool
) -> int:
    """Measure the noise of SOURCE: a camera (0, /dev/video0), or a recording or folder of shots of a still scene.

    With a camera it asks to show something still with dark and bright areas, then to cover the lens. Switch automatic
    exposure and gain off before, and calibrate at the size and gain that the camera is to work at.
    """
    from quietframe.calibration import calibrate as measure
    from quietframe.camera import write_profile
    from quietframe.descriptors import suppress_native_output
    from quietframe.images import write_whole
    from quietframe.serde import to_record
    from quietframe.sinks.base import check_folder, check_targets, make_folder
    from quietframe.sources import open_source

    if plot:
        _check_plot(plot, out)
    targets = [out, plot] if plot else [out]
    failures: list[str] = []
    with suppress_native_output(), ExitStack() as opened:
        sources = [opened.enter_context(open_source(each, to_8bit=True)) for each in (source, dark) if each is not None]
        check_targets(targets, [file for each in sources for file in each.files], overwrite=overwrite)
        for path in targets:
            check_folder(path.parent)
        shots, *in_dark = [(frame.pixels for frame in each) for each in sources]
        try:
            if sources[0].real_time and not in_dark:
                still = _asked(shots, "Show the camera something still, with dark and bright areas, and press Enter.")
                profile = measure(still, _asked(shots, "Cover the lens, and press Enter."), frames=frames)
            else:
                profile = measure(shots, *in_dark, frames=frames)
        finally:
            failures = [failure for each in sources for failure in each.failures]
            for failure in failures:
                say(f"error: {failure}")
    drawn = _draw(profile, plot.suffix[1:].lower()) if plot else b""
    for path in targets:
        make_folder(path.parent)
    write_profile(profile, out, overwrite=overwrite)
    if plot:
        write_whole(plot, drawn, overwrite=overwrite)
    for warning in profile.warnings:
        say(f"warning: {warning}")
    if as_json:
        click.echo(json_line(to_record(profile)))
    else:
        _describe(profile)
    say(f"written to {out}: use it with quietframe denoise … --camera {out}")
    return EXIT_FAILED if failures else EXIT_DONE


def _asked(shots: Iterator[Any], what: str) -> Iterator[Any]:
    """Ask for something, then give the camera's next frames."""
    say(what)
    if sys.stdin is None or not sys.stdin.readline():
        raise UsageError(
            "no terminal to ask at: record both, and name the recordings: quietframe calibrate FILE --dark FILE"
        )
    yield from islice(shots, _LEFT_OUT, None)


def _describe(profile: CameraProfile) -> None:
    """Print what was found, in words and a table."""
    print_table(
        ("brightness", ">blue", ">green", ">red"),
        [
            (f"{level:.0f} of 255", *(f"{sigma:.1f}" for sigma in sigmas))
            for level, sigmas in list(zip(profile.brightness_255, profile.sigma_255, strict=True))[::4]
        ],
        names=False,
    )
    click.echo("\n".join(describe(profile)))


def describe(profile: CameraProfile) -> list[str]:
    """Say in plain words what a profile tells, a line each."""
    luma = profile.autocorrelation[0]
    alike = (luma[0][1] + luma[1][0]) / 2
    lines = [
        f"Noise in 8-bit levels, of {profile.frames} frames of {profile.size_wh[0]}x{profile.size_wh[1]}; brightness "
        f"{profile.measured_255[0]:.0f} to {profile.measured_255[1]:.0f} was seen, the rest is calculated."
    ]
    if alike > _NOTABLE:
        lines.append(
            f"Neighbouring pixels share {100 * alike:.0f} % of their noise: the camera smooths, or interpolates it."
        )
    if min(profile.chroma_detail) < 0.5:
        lines.append("Colours have less detail than brightness, as in 4:2:0 or 4:2:2 video.")
    if profile.blockiness > 1 + _NOTABLE:
        lines.append("The noise changes at the borders of 8×8 blocks: the frames were compressed as JPEG.")
    if profile.temporal_correlation > _NOTABLE:
        lines.append(
            f"Successive frames share {100 * profile.temporal_correlation:.0f} % of their noise: the camera's own "
            "noise reduction is on; video models do better without it."
        )
    found = [f"{len(profile.hot_pixels)} hot pixels" if profile.hot_pixels else ""]
    found += [f"offsets of {what}" for what, has in (("columns", profile.columns), ("rows", profile.rows)) if has]
    defects = ", ".join(filter(None, found))
    lines.append(f"Found: {defects}; --camera takes them out." if defects else "No hot pixels or stripes were found.")
    return lines


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise MissingExtraError("matplotlib", "bench") from exc
    return Figure(figsize=(7, 4.5), layout="constrained")


def _check_plot(plot: Path, out: Path) -> None:
    """Raise before anything is measured if a plot could not be drawn or written."""
    _figure()
    if plot.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"{plot}: expected a name that ends in .png or .svg")
    if plot.resolve() == out.resolve():
        raise UsageError(f"--plot and --out name one file: {out}")


def _draw(profile: CameraProfile, kind: str) -> bytes:
    """Draw the noise by brightness. Returns the file, of a kind that matplotlib knows."""
    figure = _figure()
    axes = figure.subplots()
    for channel, colour in enumerate(("blue", "green", "red")):
        axes.plot(
            profile.brightness_255,
            [sigmas[channel] for sigmas in profile.sigma_255],
            color=f"tab:{colour}",
            label=colour,
        )
    axes.axvspan(*profile.measured_255, color="0.93", zorder=0, label="seen in the scene")
    axes.set(
        title="Noise of the camera by brightness",
        xlabel="brightness, 8-bit levels",
        ylabel="standard deviation of the noise, 8-bit levels",
        xlim=(0, 255),
        ylim=(0, None),
    )
    axes.legend()
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, dpi=120)
    return drawn.getvalue()

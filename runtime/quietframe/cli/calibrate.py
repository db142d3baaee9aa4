"""`quietframe calibrate`: measure a camera's noise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietframe.cli import EXIT_DONE
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
    from quietframe.serde import to_record
    from quietframe.sinks.base import check_targets
    from quietframe.sources import open_source

    check_targets([path for path in (out, plot) if path], [Path(source)], overwrite=overwrite)
    if plot:
        _figure()  # what is missing is said before anything is measured
    with suppress_native_output(), ExitStack() as opened:
        scene = opened.enter_context(open_source(source))
        shots = (frame.pixels for frame in scene)
        if dark is not None:
            in_dark = (frame.pixels for frame in opened.enter_context(open_source(dark)))
            profile = measure(shots, in_dark, frames=frames)
        elif scene.real_time:
            still = _asked(shots, "Show the camera something still, with dark and bright areas, and press Enter.")
            profile = measure(still, _asked(shots, "Cover the lens, and press Enter."), frames=frames)
        else:
            profile = measure(shots, frames=frames)
    write_profile(profile, out, overwrite=overwrite)
    if plot:
        _draw(profile, plot)
    for warning in profile.warnings:
        say(f"warning: {warning}")
    if as_json:
        click.echo(json_line(to_record(profile)))
    else:
        _describe(profile)
    say(f"written to {out}: use it with quietframe denoise … --camera {out}")
    return EXIT_DONE


def _asked(shots: Iterator[Any], what: str) -> Iterator[Any]:
    """Ask for something, then give the camera's next frames."""
    say(what)
    if not sys.stdin.readline():
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


def _draw(profile: CameraProfile, path: Path) -> None:
    """Draw the noise by brightness."""
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
    figure.savefig(path, dpi=120)

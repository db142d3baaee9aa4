"""Measure what denoising saves a recorder and a motion detector: `python docs/research/video_gains.py --help`.

Motion is detected as by the program Motion, with the defaults of its manual (motion_config.html): pixels count whose
luma differs from a reference by more than `noise_level`, which `noise_tune`, on by default, adapts every second while
nothing moves. The reference takes what hardly changes, halves other differences, and ignores moving pixels at first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, groupby, islice, product
from pathlib import Path

import av
import click
import cv2
import numpy as np
from numpy.typing import NDArray

import quietframe as qf
from quietframe.noise.formats import FORMATS, Frame
from quietframe_train import sensor

FPS, DARK, CONTRAST_255, PASSES, CRFS, NOISY, CLEAN = 15, 0.25, 25, 2, (23, 28), "noisy", "without noise"
SHOTS = 1e-3, 4e-3, 1.2e-2  # variance of the noise, as a share of the light
THRESHOLD_SHARE = 1500 / (640 * 480)  # Motion's defaults; its event_gap is 60 s, longer than the clips here
NOISE_LEVEL, STATIC_S, EVENT_GAP_S = 32, 10, 1
DETECTORS = {"`noise_tune off`": False, "`noise_tune on`": True}


def read_night(folder: Path, width: int, frames: int) -> list[Frame]:
    """Read a sequence, resized and darkened; where it is too short it runs back and forth."""
    with qf.open_source(folder) as source:
        seen = [frame.pixels for frame, _ in zip(source, range(frames), strict=False)]
    size_wh = width, 2 * round(width * seen[0].shape[0] / seen[0].shape[1] / 2)
    dark = [cv2.convertScaleAbs(cv2.resize(each, size_wh, interpolation=cv2.INTER_AREA), alpha=DARK) for each in seen]
    return list(islice(cycle([*dark, *dark[-2:0:-1]]), frames))


def walk(scene: Frame, frames: int) -> list[Frame]:
    """Let a textured figure, a third of the frame high, walk through a still scene from border to border."""
    (height, width), side = scene.shape[:2], scene.shape[0] // 3
    texture = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 20, (side, side, 1)), (0, 0), 2)
    piece, mask, clip = cv2.merge([texture + scene.mean() + CONTRAST_255] * 3), np.zeros((side, side, 3)), []
    for y, x_axis, y_axis in np.int32(side * np.array([(0.1, 0.08, 0.08), (0.42, 0.14, 0.24), (0.78, 0.09, 0.2)])):
        cv2.ellipse(mask, (side // 2, int(y)), (int(x_axis), int(y_axis)), 0, 0, 360, (1, 1, 1), -1)
    for left in np.linspace(-side, width, frames):
        place = np.array([[1, 0, left], [0, 1, 0.9 * height - side]])
        alpha, moved = (cv2.warpAffine(each, place, (width, height)) for each in (mask, piece))
        clip.append(np.rint(np.clip(scene * (1 - alpha) + moved * alpha, 0, 255)).astype(np.uint8))
    return clip


def photograph(clip: Sequence[Frame], shot: float, seed: int) -> tuple[list[Frame], list[Frame]]:
    """Photograph a clip, without noise and with it: of variance `shot` times the light, and read noise to match."""
    rng, camera = np.random.default_rng(seed), sensor.random_sensor(np.random.default_rng(1))
    camera = replace(camera, shot=shot, read=10 ** (1.24 * np.log10(shot) - 1.38))
    clean, noisy, deliver = [], [], FORMATS["yuyv-422"].deliver_clip
    for _, same in groupby(clip, key=id):
        scene, *others = same
        frame, frames = sensor.photograph(scene, camera, sensor.Processing(), rng, frames=1 + len(others), fixed=seed)
        clean += deliver([frame]) * len(frames)
        noisy += deliver(frames)
    return clean, noisy


def encoded_bytes(clip: Sequence[Frame], crf: int) -> int:
    """Encode a clip as H.264 by libx264, preset veryfast, and count its bytes."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = clip[0].shape[:2]
    options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
    encoder.pix_fmt, encoder.framerate, encoder.options = "yuv420p", FPS, options
    pictures = [av.VideoFrame.from_ndarray(frame, format="bgr24") for frame in clip]
    return sum(packet.size for picture in [*pictures, None] for packet in encoder.encode(picture))


def find_motion(clip: Sequence[Frame], *, tunes: bool) -> NDArray[np.bool_]:
    """Find the frames with motion. In the first second only the noise level is tuned, as Motion does at its start."""
    reference, *lumas = (cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)[: len(frame)] for frame in clip)
    found, level, age = [False], NOISE_LEVEL, np.zeros(reference.shape, np.int32)
    for index, now in enumerate(lumas, 1):
        difference = cv2.absdiff(now, reference)
        changed = difference > level
        found.append(np.count_nonzero(changed) > THRESHOLD_SHARE * now.size and index >= FPS)
        if tunes and index % FPS == 1 and not found[-1]:
            level = 4 + (level + int(3 * (difference.mean() + 1))) // 2
        far, is_old = difference > level // 5, age > STATIC_S * FPS
        kept = far & ((age == 0) | (changed & ~is_old))
        new = np.where(far & ~is_old, cv2.addWeighted(now, 0.5, reference, 0.5, 0), now)
        reference = np.where(kept, reference, new)
        age = np.where(kept, age + 1, 0)  # for how many frames a pixel has been kept out of the reference
    return np.array(found)


def print_table(title: str, heads: str, cells: Mapping[tuple[object, ...], Mapping[str, float]]) -> None:
    """Print a Markdown table, a row for each key and a column for each kind of frames."""
    head = [*heads.split(", "), *next(iter(cells.values()))]
    lines = [[*map(str, row), *(f"{value:.0f}" for value in values.values())] for row, values in cells.items()]
    lines = [f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines)]
    click.echo(f"{title}:\n\n{''.join(lines)}")


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--single", default="camera-small", show_default=True, help="Model for single frames.")
@click.option("--model", default="video", show_default=True, help="Video model.")
@click.option("--width", default=640, show_default=True, help="Of the frames, in pixels.")
@click.option("--frames", default=90, show_default=True, help="Of each encoded clip, and of each pass of a figure.")
@click.option("--seconds", default=20, show_default=True, help="For which nothing moves, before a figure passes.")
def main(folders: Sequence[Path], single: str, model: str, width: int, frames: int, seconds: int) -> None:
    """Print how much smaller H.264 of sequences of images, seen at night, becomes, and how much motion is false."""
    hours, kbits, sigmas = (seconds - 1) * len(folders) / 3600, 8e-3 * FPS / frames / len(folders), {}
    sizes, events, minutes, passes = (defaultdict(Counter) for _ in range(4))
    try:
        models = {each.card.name: each for each in (qf.Denoiser(single), qf.VideoDenoiser(model))}
        for (shot, path), (camera, seed) in product(product(SHOTS, folders), (("still", 1), ("moving", 2))):
            scene = night = read_night(path, width, frames)
            if camera == "still":
                scene = [night[0]] * seconds * FPS + walk(night[0], frames) * PASSES
            clean, noisy = photograph(scene, shot, seed)
            sigma = sigmas.setdefault(shot, round(np.std(noisy[0].astype(float) - clean[0])))
            for kind in (NOISY, *models, CLEAN):
                clip, level_255 = clean if kind == CLEAN else noisy, qf.NoiseTracker(FPS)
                if kind in models:
                    models[kind].reset()
                    clip = [models[kind](frame, sigma_255=level_255(frame)) for frame in noisy]
                for crf in CRFS:
                    sizes[sigma, camera, crf][kind] += encoded_bytes(clip[-frames:], crf) * kbits
                for name, tunes in DETECTORS.items() if camera == "still" else ():
                    still, walks = np.split(find_motion(clip, tunes=tunes), [seconds * FPS])
                    false, row = np.flatnonzero(still), (sigma, name)
                    events[row][kind] += (np.diff(false, prepend=-np.inf) > EVENT_GAP_S * FPS).sum() / hours
                    minutes[row][kind] += len(false) / FPS / 60 / hours
                    passes[row][kind] += walks.reshape(PASSES, frames).any(axis=1).sum()
    except qf.QuietFrameError as exc:
        raise click.ClickException(str(exc)) from None
    smaller = {row: {kind: 100 * (1 - kb / each[NOISY]) for kind, kb in each.items()} for row, each in sizes.items()}
    print_table("H.264, kbit/s", "noise σ, camera, crf", sizes)
    print_table("H.264, percent smaller than noisy", "noise σ, camera, crf", smaller)
    print_table("False events an hour, joined if less than 1 s apart", "noise σ, detector", events)
    print_table("Minutes of false motion an hour", "noise σ, detector", minutes)
    print_table(f"Of {PASSES * len(folders)} passes of a figure, found", "noise σ, detector", passes)


if __name__ == "__main__":
    main()

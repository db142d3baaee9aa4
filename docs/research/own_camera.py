"""Show what `quietframe calibrate` gains on five simulated cameras: `python docs/research/own_camera.py DATA OUT.md`.

The cameras were named before the work: Raspberry Pi's imx219 at gain 8, ov5647 at gain 8 and imx477 at gain 16, a
phone's sensor at ISO 3200, and a starlight sensor, imx462 at gain 32. Colour matrix, white balance and tone curve are
those of the tunings (libcamera, BSD-2-Clause; of the phone the imx708's), smoothing, sharpening, defects and format
each its own.
Each is calibrated on one photograph and measured on others, none of which any model was trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from quietframe import Denoiser, psnr
from quietframe.calibration import FRAMES, calibrate
from quietframe.camera import CameraProfile, write_profile
from quietframe.noise.formats import FORMATS, Format, Frame
from quietframe_train.data.photos import PhotoData, load_photos
from quietframe_train.sensor import Processing, Sensor, photograph

SIZE_WH = (512, 384)
SCENES = 12
RAW = Format("rgb", "rgb")


class Camera(NamedTuple):
    """A simulated camera: its sensor, its processing, the format of its frames."""

    name: str
    sensor: Sensor
    processing: Processing
    form: Format

    def shoot(self, scene: Frame, count: int, seed: int) -> tuple[Frame, list[Frame]]:
        """Return the frame that it would give without noise, and noisy ones, as its format delivers them."""
        rng = np.random.default_rng(seed)
        clean, noisy = photograph(scene, self.sensor, self.processing, rng, frames=count, fixed=7)
        return clean, [self.form.deliver([frame] * self.form.frames) for frame in noisy]


def read_camera(tunings: list[dict[str, Any]], name: str, shot: float, **how: Any) -> Sensor:
    """Build a sensor from a tuning: at some 4000 K, with its tone curve; noise of variance shot·x + read."""
    tuning = next(each for each in tunings if each["sensor"] == name and each["pipeline"] == "pisp")
    matrix = min(tuning["colour_matrices"], key=lambda each: abs(each["ct"] - 4000))["ccm"]
    to_bgr = np.array(matrix).reshape(3, 3)[::-1, ::-1]
    white = np.array(tuning["awb_ct_curve"]).reshape(-1, 3)
    _, red, blue = white[np.argmin(abs(white[:, 0] - 4000))]
    curve = np.array(tuning["gamma_curve"]).reshape(-1, 2) / 65535
    light = np.linspace(0, 1, 65536)
    tone = np.interp(light, curve[:, 0], curve[:, 1])
    return Sensor(
        to_camera=np.linalg.inv(to_bgr).astype(np.float32),
        to_bgr=np.ascontiguousarray(to_bgr, np.float32),
        gains_bgr=np.array([1 / blue, 1, 1 / red], np.float32),
        tone=np.rint(255 * tone).astype(np.uint8),
        light=np.interp(np.arange(256) / 255, tone, light).astype(np.float32),
        shot=shot,
        read=how.pop("read", 10 ** (1.24 * np.log10(shot) - 1.38)),
        **{"row": 0.0, "column": 0.0, "hot_pixels": 0.0, "clips_black": True, "demosaic": "malvar"} | how,
    )


def cameras(data: Path) -> list[Camera]:
    """Build the five cameras."""
    tunings = json.loads((data / "noise" / "raspberrypi.json").read_text())["cameras"]
    at_gain_1 = {each["sensor"]: each["shot_a_at_gain_1"] for each in tunings if each["pipeline"] == "pisp"}
    with (data / "noise" / "profiles.csv").open() as file:
        phone = next(row for row in csv.DictReader(file) if row["camera"] == "LGE Nexus 5X" and row["iso"] == "3200")
    return [
        Camera(
            "imx219, gain 8",
            read_camera(tunings, "imx219", 8 * at_gain_1["imx219"], demosaic="bilinear"),
            Processing(luma_radius=0.6, chroma_radius=1.5, chroma_share=0.8, gain=1.5),
            FORMATS["jpeg-90-422"],
        ),
        Camera(
            "ov5647, gain 8", read_camera(tunings, "ov5647", 8 * at_gain_1["ov5647"]), Processing(), FORMATS["yuyv-422"]
        ),
        Camera(
            "imx477, gain 16",
            read_camera(tunings, "imx477", 16 * at_gain_1["imx477"], clips_black=False, demosaic="edge-aware"),
            Processing(sharpening=(0.5, 1.0)),
            RAW,
        ),
        Camera(
            "phone, ISO 3200",
            read_camera(tunings, "imx708", float(phone["a_g"]), read=float(phone["b_g"])),
            Processing(luma_radius=0.9, chroma_radius=3.0, chroma_share=0.5, gain=2.0, sharpening=(0.8, 0.9)),
            FORMATS["jpeg-95-420"],
        ),
        Camera(
            "starlight, gain 32",
            read_camera(
                tunings, "imx462", 32 * at_gain_1["imx462"], row=0.1, column=0.3, hot_pixels=5e-4, clips_black=False
            ),
            Processing(),
            FORMATS["jpeg-80-420"],
        ),
    ]


def scenes(data: Path) -> Iterator[Frame]:
    """Give the middle of photographs of the validation set, made smaller so that they are sharp and clean."""
    validation = load_photos(
        data / "photos", validation_share=0.04, validation_list=PhotoData.validation_list
    ).validation
    width, height = SIZE_WH
    for photo in validation:
        scale = max(width / photo.shape[1], height / photo.shape[0])
        small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = (small.shape[0] - height) // 2, (small.shape[1] - width) // 2
        yield np.ascontiguousarray(small[top : top + height, left : left + width])


def calibrated(camera: Camera, scene: Frame) -> CameraProfile:
    """Calibrate a camera as its user would: on a still scene, then with the lens covered."""
    _, still = camera.shoot(scene, FRAMES, 1)
    _, dark = camera.shoot(np.zeros_like(scene), FRAMES, 2)
    return calibrate(still, dark)


def measure(camera: Camera, denoiser: Denoiser | None, views: list[Frame]) -> list[float]:
    """Return the PSNR of each view, denoised or as it comes, in dB."""
    found = []
    for index, view in enumerate(views):
        clean, (noisy,) = camera.shoot(view, 1, 100 + index)
        found.append(psnr(clean, denoiser(noisy) if denoiser else noisy))
    return found


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="camera-small")
    options = parser.parse_args()
    views = list(scenes(options.data))
    # The one with the widest range of brightness calibrates.
    still = views.pop(int(np.argmax([np.ptp(np.percentile(view, (5, 95))) for view in views])))
    lines = [
        "| camera | noisy dB | denoised dB | calibrated dB | gain dB | least gain dB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for camera in cameras(options.data):
        profile = calibrated(camera, still)
        write_profile(profile, options.out.with_name(f"{camera.name.partition(',')[0]}.json"), overwrite=True)
        denoisers = None, Denoiser(options.model), Denoiser(options.model, camera=profile)
        noisy, before, after = (np.array(measure(camera, each, views[:SCENES])) for each in denoisers)
        gain = after - before
        numbers = noisy.mean(), before.mean(), after.mean(), gain.mean(), gain.min()
        lines.append(f"| {camera.name} | {' | '.join(f'{number:.2f}' for number in numbers)} |")
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

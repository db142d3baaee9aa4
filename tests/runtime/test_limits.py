"""What a command may cost on a device: time to the written image, and memory for a video. Real processes."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.noise import add_gaussian
from support.process import run_python

SIZE_WH = (640, 480)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), cv2.resize(photo_bgr(), SIZE_WH))
    return path


# The peak is read from the process itself: what wait4 reports counts the parent's memory in, from before the exec.
CODE = """
import sys
from quietframe.cli import main
from quietframe.cpu import peak_rss_mb
try:
    main(sys.argv[1:])
finally:
    print(peak_rss_mb())
"""


def run(*args: object) -> tuple[float, float]:
    """Run the command; give the wall time in seconds and the peak memory in MB."""
    start = time.perf_counter()
    done = run_python("-c", CODE, *args, PYTHONDONTWRITEBYTECODE="")
    return time.perf_counter() - start, float(done.stdout)


def test_an_image_is_written_within_1500_ms(photo, tmp_path):
    run("denoise", photo, "-o", tmp_path / "first.png")  # compiles the bytecode, as an installed package has it
    wall_s = [run("denoise", photo, "-o", tmp_path / f"{index}.png")[0] for index in range(3)]
    print(f"640x480 image to the written file: {statistics.median(wall_s):.2f} s")
    assert statistics.median(wall_s) <= 1.5


def test_a_video_takes_at_most_250_mb(tmp_path):
    video = tmp_path / "noisy.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 30, SIZE_WH)
    photo = cv2.resize(photo_bgr(), (700, 520))
    for index in range(60):
        writer.write(photo[index % 40 :, index:][: SIZE_WH[1], : SIZE_WH[0]])
    writer.release()
    _, peak_mb = run("denoise", video, "-o", tmp_path / "clean.mp4")
    print(f"640x480 video: {peak_mb:.0f} MB at the peak")
    assert peak_mb <= 250


def test_an_image_of_50_megapixels_takes_at_most_1200_mb(tmp_path):
    """It and the result take 300 MB of that. Seen whole, it would take 5,000 MB."""
    noisy = add_gaussian(photo_bgr(), 20, np.random.default_rng(0))
    path = tmp_path / "large.jpg"
    large = np.tile(noisy, (-(-6144 // noisy.shape[0]), -(-8192 // noisy.shape[1]), 1))[:6144, :8192]
    cv2.imwrite(str(path), large)
    wall_s, peak_mb = run("denoise", path, "-o", tmp_path / "clean.jpg")
    print(f"8192x6144 image: {peak_mb:.0f} MB at the peak, {wall_s:.1f} s to the written file")
    assert peak_mb <= 1200

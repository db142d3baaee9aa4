"""Videos for tests: made and looked at by the programs of others, ffmpeg and ffprobe."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def ffmpeg(*args: object) -> bytes:
    """Run ffmpeg; what it writes to standard output."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, args)]
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout


def make(
    path: Path, *args: object, scene: str = "testsrc2=size=320x240:rate=25:duration=1", inputs: Sequence[object] = ()
) -> Path:
    """Make a video of one of ffmpeg's scenes and other inputs, with ffmpeg's options."""
    ffmpeg("-f", "lavfi", "-i", scene, *inputs, *args, path)
    return path


def probe(path: Path) -> dict[str, Any]:
    """What ffprobe says: of the first video stream, with `streams`, `chapters`, `tags` and `times_s` of its frames."""
    show = ["-show_streams", "-show_chapters", "-show_format"]
    said = subprocess.run(["ffprobe", "-v", "error", *show, "-of", "json", path], capture_output=True, check=True)
    record = json.loads(said.stdout)
    (video, *_) = [stream for stream in record["streams"] if stream["codec_type"] == "video"]
    frames = ["-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "json"]
    said = subprocess.run(["ffprobe", "-v", "error", *frames, path], capture_output=True, check=True)
    times_s = [float(frame["pts_time"]) for frame in json.loads(said.stdout)["frames"]]
    tags = {key.lower(): text for key, text in record["format"].get("tags", {}).items()}
    duration_s = float(record["format"].get("duration", 0))
    more = {"chapters": record["chapters"], "tags": tags, "times_s": times_s, "duration_s": duration_s}
    return video | more | {"streams": record["streams"]}


def decoded(path: Path, size_wh: tuple[int, int]) -> np.ndarray:
    """All frames as ffmpeg shows them: (N, H, W, 3) BGR."""
    data = ffmpeg("-i", path, "-f", "rawvideo", "-fps_mode", "passthrough", "-pix_fmt", "bgr24", "-")
    return np.frombuffer(data, np.uint8).reshape(-1, size_wh[1], size_wh[0], 3)

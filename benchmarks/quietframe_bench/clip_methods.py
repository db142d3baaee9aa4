"""Denoisers of whole clips, for video: OpenCV's multi-frame NLM and filters of FFmpeg, each with a small grid."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from quietframe.errors import QuietFrameError, UsageError
from quietframe_bench.classical import Frame, Grid, Setting

_PROGRAM = "ffmpeg"
_MULTI_REACH = 2  # frames to each side that NLM looks at
_MULTI_SEARCH = 11


@dataclass(frozen=True)
class ClipMethod(Grid):
    """A denoiser of the frames of a clip, which may look at those before and after.

    Attributes:
        apply: (frames, setting, CPU threads) to the denoised frames, as many and in their order; BGR in and out.
        per_level: parameters that the grid states for a noise level of 1, with the least and the greatest value.
        filter: the filter of FFmpeg that it is, if it is one.
    """

    apply: Callable[[Sequence[Frame], Setting, int], Iterator[Frame]]
    per_level: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    filter: str | None = None

    def settings(self, *, gray: bool, near_255: float | None = None) -> Sequence[Setting]:
        """Return the grid for a noise level; gray frames go as three equal planes."""
        return [{name: self._value(name, one[name], near_255 or 1.0) for name in one} for one in self.grid]

    def _value(self, name: str, value: float, level_255: float) -> float:
        if name not in self.per_level:
            return value
        low, high = self.per_level[name]
        return round(min(max(value * level_255, low), high), 4)

    @property
    def grid_text(self) -> str:
        """The grid in words; what is stated for a level of 1 is said to be a multiple of the level."""
        parts = super().grid_text.split("; ")
        return "; ".join(part + " × the level" * (part.split(" ")[0] in self.per_level) for part in parts)


def _nlm_multi(frames: Sequence[Frame], setting: Setting, _threads: int) -> Iterator[Frame]:
    """Look at two frames before and after; fewer at the ends, as many to each side."""
    for index in range(len(frames)):
        reach = min(_MULTI_REACH, index, len(frames) - 1 - index)
        near = frames[index - reach : index + reach + 1]
        h = setting["h"]
        yield cv2.fastNlMeansDenoisingColoredMulti(near, reach, len(near), None, h, h, 7, _MULTI_SEARCH)


def _ffmpeg(name: str, template: str, frames: Sequence[Frame], setting: Setting, threads: int) -> Iterator[Frame]:
    """Send frames through a filter as full-range YCbCr, in which all of them did better than in RGB."""
    height, width = frames[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv444p"]
    given = [*raw, "-s", f"{width}x{height}", "-i", "-"]
    taken = ["-vf", f"{name}={template.format(**setting)}", "-filter_threads", str(threads), *raw, "-"]
    planes = [cv2.cvtColor(frame, cv2.COLOR_BGR2YCrCb)[..., [0, 2, 1]].transpose(2, 0, 1) for frame in frames]
    command, sent = [_PROGRAM, "-v", "error", *given, *taken], np.stack(planes).tobytes()
    done = subprocess.run(command, input=sent, capture_output=True, check=False)
    results = np.frombuffer(done.stdout, np.uint8)
    if done.returncode or results.size != len(frames) * frames[0].size:
        raise QuietFrameError(f"ffmpeg, {name}: {done.stderr.decode(errors='replace').strip() or 'frames are missing'}")
    for found in results.reshape(len(frames), 3, height, width):
        yield cv2.cvtColor(np.ascontiguousarray(found[[0, 2, 1]].transpose(1, 2, 0)), cv2.COLOR_YCrCb2BGR)


def _filter(
    name: str, template: str, grid: Sequence[Setting], per_level: Mapping[str, tuple[float, float]]
) -> ClipMethod:
    return ClipMethod(partial(_ffmpeg, name, template), grid=grid, per_level=per_level, filter=name)


CLIP_METHODS: Mapping[str, ClipMethod] = {
    "NLM multi": ClipMethod(_nlm_multi, grid=[{"h": share} for share in (0.35, 0.5, 0.7)], per_level={"h": (1, 100)}),
    "hqdn3d": _filter(
        "hqdn3d",
        "luma_spatial={spatial}:luma_tmp={temporal}",
        [{"spatial": spatial, "temporal": temporal} for spatial in (0.2, 0.4, 0.8) for temporal in (0.3, 0.6, 1.2)],
        {"spatial": (0, 255), "temporal": (0, 255)},
    ),
    "nlmeans": _filter("nlmeans", "s={s}:p=7:r=9", [{"s": share} for share in (0.2, 0.3, 0.45, 0.65)], {"s": (1, 30)}),
    "atadenoise": _filter(
        "atadenoise",
        "0a={a}:1a={a}:2a={a}:0b={b}:1b={b}:2b={b}:s={s}",
        [{"a": a, "b": 2 * a, "s": s} for a in (0.002, 0.004, 0.008, 0.012) for s in (5, 9)],
        {"a": (0, 0.3), "b": (0, 5)},
    ),
    "fftdnoiz": _filter(
        "fftdnoiz",
        "sigma={sigma}:prev={near}:next={near}",
        [{"sigma": share, "near": near} for share in (1, 1.5, 2, 3) for near in (0, 1)],
        {"sigma": (0, 100)},
    ),
    "bm3d": _filter(
        "bm3d",
        "sigma={sigma}:group={group}",
        [
            {"sigma": share, "group": group}  # not the noise level, and on another scale for each size of a group
            for group, shares in ((1, (2, 3, 4)), (8, (25, 40, 64)))
            for share in shares
        ],
        {"sigma": (0, 99999)},
    ),
    "vaguedenoiser": _filter(
        "vaguedenoiser",
        "threshold={threshold}:nsteps={nsteps}",
        [{"threshold": share, "nsteps": steps} for share in (0.5, 1, 2) for steps in (4, 6)],
        {"threshold": (0, 255)},
    ),
}
"""By name. `NLM multi`, and `atadenoise` and `fftdnoiz` at some settings, need frames that are still to come."""


def missing_filters() -> list[str]:
    """Return the names of methods that the program `ffmpeg` would run, and does not have; all where there is none."""
    program = shutil.which(_PROGRAM)
    command = [program, "-v", "error", "-filters"] if program else ["true"]
    listed = subprocess.run(command, capture_output=True, check=False, text=True).stdout.split()
    return [name for name, method in CLIP_METHODS.items() if method.filter not in {None, *listed}]


class ClipDenoiser:
    """A method at one setting; `denoise` takes a whole clip.

    method: a name in `CLIP_METHODS`; UsageError if there is none of that name. threads: for OpenCV in this process.
    """

    def __init__(self, method: str, setting: Setting, *, threads: int) -> None:
        if method not in CLIP_METHODS:
            raise UsageError(f"Expected one of {', '.join(CLIP_METHODS)}. Received: {method!r}")
        cv2.setNumThreads(threads)
        self._apply, self._setting, self._threads = CLIP_METHODS[method].apply, setting, threads

    def denoise(self, frames: Sequence[Frame]) -> Iterator[Frame]:
        """Denoise the frames of a clip: (H, W, 3) BGR or (H, W) gray uint8, all of one shape in, the same out."""
        gray = frames[0].ndim == 2
        colour = [cv2.merge([frame] * 3) for frame in frames] if gray else frames
        for result in self._apply(colour, self._setting, self._threads):
            yield cv2.cvtColor(result, cv2.COLOR_BGR2GRAY) if gray else result

"""A sink of your own that keeps frames in which something moves: `mkdir kept; python examples/own_sink.py 0 kept`."""

import sys

import cv2

import quietframe as qf
from quietframe.sinks import Sink


class MotionSink(Sink):
    """Writes a frame that differs from the one written before. Denoised ones: noise is no motion."""

    last = None

    def write(self, frame, pixels):
        if self.last is None or cv2.absdiff(pixels, self.last).mean() > 10:
            self.last = pixels
            cv2.imwrite(f"{sys.argv[2]}/{frame.index:06d}.jpg", pixels)


with qf.open_source(sys.argv[1]) as source, MotionSink() as sink:
    denoise = qf.Denoiser("camera-nano")
    for frame in source:
        sink.write(frame, denoise(frame.pixels))

"""Denoise a video, with its times and its sound: `python examples/video.py noisy.mp4 clean.mp4`."""

import sys

import quietframe as qf

noisy_path, clean_path = sys.argv[1:]
denoise = qf.VideoDenoiser("video")  # remembers the frames before: one for each video
with qf.open_source(noisy_path) as source, qf.open_sink(clean_path, source) as sink:
    noise_level = qf.NoiseTracker(source.fps)  # estimates now and then, and smooths
    for frame in source:
        sink.write(frame, denoise(frame.pixels, sigma_255=noise_level(frame.pixels)))

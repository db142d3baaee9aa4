"""Denoise a video: `python examples/video.py noisy.mp4 clean.mp4`."""

import sys

import cv2

import quietframe as qf

noisy_path, clean_path = sys.argv[1:]
denoise = qf.Denoiser("camera-nano")
with qf.open_source(noisy_path) as source:
    noise_level = qf.NoiseTracker(source.fps)  # estimates now and then, and smooths
    writer = cv2.VideoWriter(clean_path, cv2.VideoWriter.fourcc(*"mp4v"), source.fps or 30.0, source.size_wh)
    for frame in source:
        writer.write(denoise(frame.bgr, sigma_255=noise_level(frame.bgr)))
    writer.release()

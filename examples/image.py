"""Denoise an image: `python examples/image.py noisy.png clean.png`."""

import sys

import cv2

import quietframe as qf

noisy_path, clean_path = sys.argv[1:]
frame_bgr = qf.read_image(noisy_path).bgr
denoise = qf.Denoiser("camera-small")
print(f"noise level: {qf.estimate_noise(frame_bgr):.1f} of 255")
cv2.imwrite(clean_path, denoise(frame_bgr))

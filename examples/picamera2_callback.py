"""Denoise in picamera2, before its encoder sees a frame: `python examples/picamera2_callback.py` on a Raspberry Pi."""

import sys

from picamera2 import MappedArray, Picamera2

import quietframe as qf

seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
denoise = qf.Denoiser("camera-nano")
noise_level = qf.NoiseTracker(30.0)


def clean(request):
    """Replace the pixels of a request by their denoised ones."""
    with MappedArray(request, "main") as mapped:
        frame_bgr = mapped.array.copy()
        mapped.array[:] = denoise(frame_bgr, sigma_255=noise_level(frame_bgr))


camera = Picamera2()
camera.configure(camera.create_video_configuration(main={"size": (640, 480), "format": "RGB888"}))  # BGR in memory
camera.pre_callback = clean
camera.start_and_record_video("clean.mp4", duration=seconds)

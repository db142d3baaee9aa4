"""Noise: its synthesis (`synthesis`, `formats`), its estimate in a frame and its level over a video."""

from quietframe.noise.synthesis import MAX_SIGMA_255, add_gaussian, add_shot_read, to_uint8

__all__ = ["MAX_SIGMA_255", "add_gaussian", "add_shot_read", "to_uint8"]

"""Denoise with an ONNX model of your own: `python examples/own_onnx_model.py mine.onnx noisy.png clean.png`.

Needs the extra `onnx`. `own_onnx_model.json` is the card: it states what the model's tensors carry.
"""

import sys
from pathlib import Path

import cv2

import quietframe as qf

model_path, noisy_path, clean_path = sys.argv[1:]
denoise = qf.Denoiser(model_path, card=Path(__file__).with_suffix(".json"))
cv2.imwrite(clean_path, denoise(cv2.imread(noisy_path)))

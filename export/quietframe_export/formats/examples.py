"""Calibration inputs in the form of a file: of its size, its batch and its layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from quietframe.card import ModelCard

if TYPE_CHECKING:
    from quietframe_export.subject import Inputs

_MIN_EXAMPLES = 8


def of_size(examples: Sequence[Inputs], card: ModelCard) -> Sequence[Inputs]:
    """Bring examples to the one size of a card, by reflection or cut off; fewer, so that they are as many pixels."""
    height, width = card.spatial.size_hw or (0, 0)
    (image,) = (spec for spec in card.inputs if spec.role == "image")
    pixels = sum(example[image.name].size for example in examples) // image.channels
    count = min(len(examples), max(_MIN_EXAMPLES, pixels // (height * width)))
    maps = [spec for spec in card.inputs if spec.layout in ("NHWC", "NCHW")]
    fitted = []
    for example in examples[:count]:
        inputs = dict(example)
        for spec in maps:
            values, target = inputs[spec.name], {"H": height // spec.stride, "W": width // spec.stride}
            sizes = [target.get(axis, size) for axis, size in zip(spec.layout, values.shape, strict=True)]
            missing = [(0, max(0, size - has)) for size, has in zip(sizes, values.shape, strict=True)]
            inputs[spec.name] = np.pad(values, missing, "symmetric")[tuple(map(slice, sizes))]
        fitted.append(inputs)
    return fitted


def in_batches(examples: Sequence[Inputs], batch: int) -> Sequence[Inputs]:
    """Join so many examples to one at a time; the last is filled up with the first."""
    if batch == 1:
        return examples
    starts = range(0, len(examples), batch)
    groups = [[examples[index % len(examples)] for index in range(start, start + batch)] for start in starts]
    return [{name: np.concatenate([each[name] for each in group]) for name in group[0]} for group in groups]


def with_channels_first(examples: Sequence[Inputs], names: Sequence[str]) -> Sequence[Inputs]:
    """Bring the inputs of these names from NHWC to NCHW."""
    return [
        {
            name: np.ascontiguousarray(value.transpose(0, 3, 1, 2)) if name in names else value
            for name, value in example.items()
        }
        for example in examples
    ]

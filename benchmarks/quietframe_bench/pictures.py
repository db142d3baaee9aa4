"""Before and after: what denoisers make of the bundled photograph with noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quietframe_bench.frames import NOISE_SIGMA_255
from quietframe_bench.process import Child, ChildError


def before_and_after(models: Sequence[Path]) -> list[tuple[Path | None, Mapping[str, Any]]]:
    """A model's file and its picture, as base64 of a JPEG, with the PSNR; first without model: clean, and noisy.

    Each comes from a process of its own; a model that fails has an `error` in place of a picture.
    """
    found: list[tuple[Path | None, Mapping[str, Any]]] = []
    for model, sigma_255 in [(None, 0.0), (None, NOISE_SIGMA_255), *((model, NOISE_SIGMA_255) for model in models)]:
        with Child() as child:
            try:
                picture = child.ask("picture", model=model and str(model), sigma_255=sigma_255)
            except ChildError as exc:
                picture = {"error": str(exc)}
        found.append((model, {"error": None, **picture}))
    return found

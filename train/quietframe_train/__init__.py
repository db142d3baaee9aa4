"""Training: Keras 3 recipes for denoisers and classifiers, each reproducible from its run folder.

>>> from quietframe_train import RECIPES, train
>>> run = train("latent-autoencoder", data="mnist.npz", out="runs/latent-autoencoder")
>>> run.measured[0]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quietframe_train.quantization import quantize_aware
    from quietframe_train.recipe import Recipe
    from quietframe_train.recipes import RECIPES
    from quietframe_train.run_folder import Run, load_run
    from quietframe_train.training import train

_HOME_OF = {
    "RECIPES": "recipes",
    "Recipe": "recipe",
    "Run": "run_folder",
    "load_run": "run_folder",
    "quantize_aware": "quantization",
    "train": "training",
}

__all__ = ["RECIPES", "Recipe", "Run", "load_run", "quantize_aware", "train"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the list of recipes needs no Keras."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value

"""The optimizers that recipes name. Only `keras.ops`, so they run under every backend."""

from __future__ import annotations

import re
from typing import Any

import keras
from keras import ops

from quietframe_train.recipe import OptimizerConfig


@keras.saving.register_keras_serializable("quietframe")
class ConvMuon(keras.optimizers.Muon):
    """Muon (Jordan et al. 2024) for the kernels of convolutions, too: Keras' own gives those to Adam.

    A kernel is taken as the matrix (height · width · inputs, outputs). A step is the momentum made orthogonal, scaled
    to the length that a step of Adam has (Liu et al. 2025). Vectors, and layers whose path matches one of
    `exclude_layers`, are Adam's.
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) not in (2, 4) or any(re.search(name, variable.path) for name in self.exclude_layers)

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        ahead = ops.add(gradient, self.momentum * m)
        matrix = ops.reshape(ahead, (-1, variable.shape[-1]))
        step = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(step, variable.shape))

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """Keras' iteration, carried out on the smaller of x·xᵀ and xᵀ·x: x itself is multiplied but twice.

        Kernels are many times as tall as wide, and for large models Keras' own way took a quarter of a training step.
        """
        tall = x.shape[-2] > x.shape[-1]
        x = x / (ops.norm(x) + 1e-7)
        square = ops.transpose(x) @ x if tall else x @ ops.transpose(x)
        whole = ops.eye(square.shape[0], dtype=x.dtype)
        factors = whole
        for _ in range(steps):
            factor = self.muon_a * whole + self.muon_b * square + self.muon_c * (square @ square)
            factors = factors @ factor
            square = factor @ square @ factor
        return x @ factors if tall else factors @ x


def build_optimizer(config: OptimizerConfig, rate: Any, *, ema_momentum: float) -> keras.optimizers.Optimizer:
    """Build what `config` names. rate: a learning rate or a schedule. ema_momentum: 0 for no moving average."""
    common = {
        "learning_rate": rate,
        "clipnorm": config.clipnorm,
        "use_ema": ema_momentum > 0,
        "ema_momentum": ema_momentum if ema_momentum > 0 else 0.99,
    }
    if config.name == "muon":
        return ConvMuon(exclude_layers=list(config.adam_layers), weight_decay=0.0, adam_weight_decay=0.0, **common)
    return keras.optimizers.Adam(**common)

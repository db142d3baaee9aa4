"""What the tests of the real-time loop share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quietframe import Denoiser
from quietframe.controls import Controls, Settings
from quietframe.pipeline.loop import Loop
from quietframe.pipeline.models import Models
from quietframe.sinks import Sink
from quietframe.sources import Source
from support.live import Slow


@pytest.fixture
def blur_file(make_model: Callable[..., Path]) -> Path:
    """A denoiser without a noise level: a 3×3 mean, so that flat frames stay as they are."""
    return make_model("blur.fp32", blur=True)


@pytest.fixture
def slow(blur_file: Path) -> Callable[[float], Slow]:
    """`slow(extra_ms)`."""
    return lambda extra_ms: Slow(blur_file, extra_ms)


@pytest.fixture
def live(blur_file: Path) -> Callable[..., Loop]:
    """`live(source, sink, models={name: denoiser}, model=…, fps=…, every_frame=…)`; else one quick model."""

    def make(
        source: Source,
        sink: Sink,
        models: dict[str, Denoiser] | None = None,
        *,
        model: str | None = None,
        fps: float = 30,
        controls: Controls | None = None,
        **options: Any,
    ) -> Loop:
        models = models or {"quick": Denoiser(blur_file)}
        controls = controls or Controls(Settings(model=model or next(iter(models))), list(models))
        return Loop(source, Models(models, fps=fps), sink, controls, **options)

    return make

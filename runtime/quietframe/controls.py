"""Settings that may be changed while a pipeline runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from quietframe.errors import UsageError

MAX_STRENGTH = 2.0


@dataclass(frozen=True)
class Settings:
    """The state of the controls.

    Attributes:
        strength: as of `Denoiser`, within [0, `MAX_STRENGTH`].
        model: the name of the model to run, one of `Controls.models`, or `auto`: the best that holds the frame rate.
        paused: frames are captured and dropped, nothing goes to the sinks.
    """

    strength: float = 1.0
    model: str = ""
    paused: bool = False


class Controls:
    """Hold settings that one thread changes and the loop reads at its next frame.

    Args:
        settings: at the start.
        models: the names that may be chosen.
    """

    def __init__(self, settings: Settings, models: Sequence[str]) -> None:
        self.models = tuple(models)
        self._lock = threading.Lock()
        self._settings = settings

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        return self._settings

    def change(
        self, *, strength: float | None = None, model: str | None = None, paused: bool | None = None
    ) -> Settings:
        """Change the settings that are given: all of them or, with a UsageError, none. Returns the new settings."""
        if strength is not None:
            if not isinstance(strength, Real) or isinstance(strength, bool):
                raise UsageError(f"Expected strength to be a number. Received: {strength!r}")
            if not 0 <= strength <= MAX_STRENGTH:
                raise UsageError(f"Expected strength in [0, {MAX_STRENGTH:g}]. Received: {strength!r}")
        if model is not None and model not in self.models:
            raise UsageError(f"Expected model to be one of {', '.join(self.models)}. Received: {model!r}")
        if paused is not None and not isinstance(paused, bool):
            raise UsageError(f"Expected paused to be true or false. Received: {paused!r}")
        given: dict[str, Any] = {
            "strength": None if strength is None else float(strength),
            "model": model,
            "paused": paused,
        }
        with self._lock:
            self._settings = replace(self._settings, **{key: new for key, new in given.items() if new is not None})
            return self._settings

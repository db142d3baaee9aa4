"""What may be changed while the loop runs, by whoever watches it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from quietframe.errors import UsageError

MOST_STRENGTH = 2.0


@dataclass(frozen=True)
class Settings:
    """The state of the controls.

    Attributes:
        strength: as of `Denoiser`.
        model: the name of the model that is to run, one of `Controls.models`, or `auto` where a deadline decides.
        paused: frames are captured and dropped, nothing goes to the sinks.
    """

    strength: float = 1.0
    model: str = ""
    paused: bool = False


class Controls:
    """Settings that one thread changes and the loop heeds at its next frame.

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
        """As they are now."""
        return self._settings

    def change(
        self, *, strength: float | None = None, model: str | None = None, paused: bool | None = None
    ) -> Settings:
        """Change what is given, all of it or, with a UsageError, nothing.

        Args:
            strength: within [0, `MOST_STRENGTH`].
            model: one of `models`.
            paused: whether to pause.
        """
        changes: dict[str, Any] = {}
        if strength is not None:
            if not isinstance(strength, Real) or isinstance(strength, bool):
                raise UsageError(f"Expected strength to be a number. Received: {strength!r}")
            if not 0 <= strength <= MOST_STRENGTH:
                raise UsageError(f"Expected strength in [0, {MOST_STRENGTH:g}]. Received: {strength!r}")
            changes["strength"] = float(strength)
        if model is not None:
            if model not in self.models:
                raise UsageError(f"Expected model to be one of {', '.join(self.models)}. Received: {model!r}")
            changes["model"] = model
        if paused is not None:
            if not isinstance(paused, bool):
                raise UsageError(f"Expected paused to be true or false. Received: {paused!r}")
            changes["paused"] = paused
        with self._lock:
            self._settings = replace(self._settings, **changes)
            return self._settings

"""What each operator of a model costs: as the engines' own profilers tell it, beside the stopwatch."""

from __future__ import annotations

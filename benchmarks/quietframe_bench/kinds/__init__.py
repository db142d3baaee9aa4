"""The kinds of measurement: each module holds its settings, measuring, rows, columns and command."""

from __future__ import annotations

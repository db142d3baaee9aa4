"""The preview: the running loop in a browser, the camera's picture beside the clean one."""

from __future__ import annotations

from quietframe.live.preview.server import DEFAULT_ADDRESS, Preview

__all__ = ["DEFAULT_ADDRESS", "Preview"]

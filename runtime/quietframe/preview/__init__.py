"""The preview: a running pipeline in a browser, each frame beside the clean one."""

from quietframe.preview.server import DEFAULT_ADDRESS, Preview

__all__ = ["DEFAULT_ADDRESS", "Preview"]

"""The preview: running pipelines in a browser, each frame beside the clean one."""

from quietframe.preview.frames import View
from quietframe.preview.server import DEFAULT_ADDRESS, Preview, Server

__all__ = ["DEFAULT_ADDRESS", "Preview", "Server", "View"]

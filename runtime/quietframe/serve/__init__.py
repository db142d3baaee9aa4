"""Many cameras in one process, from one file."""

from quietframe.serve.cameras import Camera, Cameras
from quietframe.serve.config import CameraConfig, Period, ServeConfig, read_config

__all__ = ["Camera", "CameraConfig", "Cameras", "Period", "ServeConfig", "read_config"]

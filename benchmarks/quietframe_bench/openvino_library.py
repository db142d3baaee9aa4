"""OpenVINO as the runtime imports it, without its telemetry, for what times imports."""

import quietframe.engines.openvino  # first: it hides the telemetry

import openvino  # isort: skip

__all__ = ["openvino", "quietframe"]

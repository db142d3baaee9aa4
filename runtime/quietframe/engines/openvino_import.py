"""Import OpenVINO without its telemetry, which tells Google of every import unless the user has opted out.

OpenVINO does without the package openvino-telemetry where that is missing. So it is hidden while OpenVINO is imported.
"""

import sys

_TELEMETRY = "openvino_telemetry"
_hidden = _TELEMETRY not in sys.modules
if _hidden:
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # so says the import system that there is no such module
try:
    import openvino
finally:
    if _hidden:
        del sys.modules[_TELEMETRY]

__all__ = ["openvino"]

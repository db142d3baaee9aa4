"""Show a camera in a browser, before and after: `python examples/camera_to_web.py 0`.

Needs the extra `serve`. Without a camera: "test:?frames=0". The command line does more: `quietframe denoise 0 --serve`.
"""

import contextlib
import logging
import sys

import quietframe as qf
from quietframe.preview import Preview

logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)  # the preview logs its link
with contextlib.suppress(KeyboardInterrupt):
    qf.Pipeline(sys.argv[1], denoiser="camera-nano", sinks=[Preview("127.0.0.1:0")]).run()

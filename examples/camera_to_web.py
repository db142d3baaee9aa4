"""Show a camera in a browser, before and after: `python examples/camera_to_web.py 0`.

Needs the extra `serve`. Without a camera: "test:?frames=0". The command line does more: `quietframe denoise 0 --serve`.
"""

import sys

import quietframe as qf
from quietframe.live.controls import Controls, Settings
from quietframe.live.preview import Preview

MODEL = "camera-nano"
denoise = qf.Denoiser(MODEL)
controls = Controls(Settings(model=MODEL), [MODEL])
with (
    qf.open_source(sys.argv[1]) as source,
    Preview("127.0.0.1:0", controls, stats=lambda: {"fps": source.fps, "trouble": source.trouble}) as preview,
):
    preview.start()
    print(preview.url, flush=True)
    for frame in source:
        denoise.strength = controls.settings.strength
        preview.write(frame, denoise(frame.pixels))

"""Before and after: what denoisers make of the bundled photograph with noise, as images for the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment

from quietframe_bench.columns import Column, Table
from quietframe_bench.frames import NOISE_SIGMA_255
from quietframe_bench.process import Child, failing
from quietframe_bench.rows import Row, Run, set_fields

TITLE = "Before and after"
_SIZE_WH = 384, 288
_IMAGES = """<p>A part of the bundled photograph with white noise, σ {{ level }}; the models estimate it.</p>
<div class="images">{% for row in rows %}<figure><img alt="{{ row.caption }}"
src="data:image/jpeg;base64,{{ row.jpeg_base64 }}"><figcaption>{{ row.caption }}</figcaption></figure>{% endfor %}</div>
"""


class ImageRow(Row, kw_only=True, tag="image"):
    """A denoised part of the photograph as a JPEG; without a model the noisy one, and with `sigma_255` 0 the clean."""

    sigma_255: float = 0.0
    jpeg_base64: str = ""
    psnr_db: float | None = None

    @property
    def caption(self) -> str:
        """What the image shows."""
        name = self.file or ("noisy" if self.sigma_255 else "clean")
        return name if self.psnr_db is None else f"{name}, {self.psnr_db:.2f} dB"


def before_and_after(models: Sequence[Path]) -> list[ImageRow]:
    """Make the images: clean, noisy, then each model's, each in a process of its own."""
    run = Run({})
    rows = []
    for model, sigma_255 in [(None, 0.0), (None, NOISE_SIGMA_255), *((model, NOISE_SIGMA_255) for model in models)]:
        row = run.row(ImageRow, model, sigma_255=sigma_255)
        rows.append(row)
        with Child() as child, failing(row):
            set_fields(row, child.call("kinds.before_after:denoise_photo", model=model, sigma_255=sigma_255))
    return rows


def denoise_photo(*, model: str | None, sigma_255: float) -> dict[str, Any]:
    """Denoise a part of the bundled photograph with noise; without a model, return the noisy part."""
    import cv2
    import numpy as np

    from quietframe import Denoiser
    from quietframe.assets import photo_bgr
    from quietframe.noise import add_gaussian
    from quietframe.quality import psnr_db

    photo = photo_bgr()
    top, left = (photo.shape[0] - _SIZE_WH[1]) // 2, (photo.shape[1] - _SIZE_WH[0]) // 2
    clean = photo[top : top + _SIZE_WH[1], left : left + _SIZE_WH[0]]
    shown = add_gaussian(clean, sigma_255, np.random.default_rng(0)) if sigma_255 else clean
    shown = Denoiser(model)(shown) if model else shown
    encoded = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    psnr = psnr_db(clean, shown) if sigma_255 else None
    return {"jpeg_base64": base64.b64encode(encoded.tobytes()).decode(), "psnr_db": psnr}


COLUMNS: dict[type[Row], Sequence[Column]] = {ImageRow: ()}


def tables(_rows: Sequence[ImageRow]) -> list[Table]:
    """Make no tables: images are for the page."""
    return []


def draw(rows: Sequence[ImageRow], _all_rows: Sequence[Row]) -> list[str]:
    """Show the images."""
    level = max((row.sigma_255 for row in rows), default=0)
    shown = [row for row in rows if row.error is None]
    return [Environment(autoescape=True).from_string(_IMAGES).render(rows=shown, level=f"{level:g}")]

"""The sheet that shows each step of the training noise."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

import quietframe as qf
from quietframe_train.noise_sheet import main, noise_panels


def test_every_step_changes_the_picture() -> None:
    panels = noise_panels()
    assert len({image.tobytes() for _, image in panels}) == len(panels)
    assert all(image.ndim == 3 for _, image in panels)


def test_the_sheet_is_written(tmp_path: Path) -> None:
    out = tmp_path / "sheet.jpg"
    result = CliRunner().invoke(main, [str(out)])
    assert result.exit_code == 0, result.output
    height, width = qf.read_image(out).bgr.shape[:2]
    assert (height, width) > (600, 800)

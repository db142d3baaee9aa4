"""The size and the time that a file may have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quietframe.errors import UsageError
from quietframe_export import Subject, export_model
from quietframe_export.formats import Form, parse_targets
from quietframe_export.limits import Limits, parse_bytes
from quietframe_export.report import notes

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def few(camera: Subject) -> Subject:
    return replace(camera, held_out=camera.held_out[:4])


@pytest.mark.parametrize(
    ("target", "limits", "reason", "try_next"),
    [
        (
            "onnx-fp32",
            Limits(size_bytes=4096),
            "bytes, more than the 4,096 allowed",
            "--to onnx-int8, or a smaller model",
        ),
        (
            "tflite-fp32",
            Limits(ms=0.01),
            "takes .* ms for 64x48 .*more than the 0.01 ms",
            "tflite-int8, or a smaller --s",
        ),
    ],
)
def test_a_file_beyond_a_limit_is_not_kept(
    few: Subject, tmp_path: Path, target: str, limits: Limits, reason: str, try_next: str
) -> None:
    report = export_model(
        few, parse_targets(target), tmp_path, form=Form((64, 48)), limits=limits, hold_to_checks=False
    )
    (file,) = report.files
    assert file.outcome == "failed"
    assert re.search(reason, file.reason)
    assert try_next in file.try_next
    assert [path.name for path in tmp_path.iterdir()] == ["export.json"]
    assert f"{target} failed; {file.try_next}" in notes(report)


def test_a_file_within_its_limits_says_what_it_took(few: Subject, tmp_path: Path) -> None:
    limits = Limits(size_bytes=1 << 20, ms=60_000)
    report = export_model(few, parse_targets("onnx-fp32"), tmp_path, limits=limits, hold_to_checks=False)
    (file,) = report.files
    assert file.outcome == "passed" and file.latency is not None
    assert 0 < file.latency.ms < 60_000
    assert (file.latency.size_wh, file.latency.images) == ((640, 480), 1)
    assert json.loads((tmp_path / "export.json").read_text())["files"][0]["latency"]["ms"] == file.latency.ms
    assert file.operations is not None and file.operations["Conv v11"] == 13
    assert any("13 Conv v11" in line for line in notes(report))


@pytest.mark.parametrize(
    ("text", "size"), [("4096", 4096), ("200KiB", 204_800), ("1.5 MB", 1_500_000), ("2mib", 2 << 20), ("7B", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "0", "-4", "4 apples", "1e3", "KiB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="Expected a size such as 200KiB"):
        parse_bytes(text)


def test_the_gates_on_the_command_line(camera_run: Path, tmp_path: Path, cli: Cli) -> None:
    for arguments, says in (
        (("--max-size", "little"), "Expected a size such as 200KiB"),
        (("--max-ms", "-1"), "Expected --max-ms of at least 0"),
    ):
        done = cli("export", camera_run, "-o", tmp_path / "out", *arguments)
        assert done.code == 2 and says in done.err
    assert not (tmp_path / "out").exists()

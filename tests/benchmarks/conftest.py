"""What the benchmarks' tests share: tiny real models, and an engine that keeps its own clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietframe.tasks.base import open_model
from support.programs import load_program
from support.tiny_models import TinyModel

pytest.importorskip("psutil", reason="benchmarks need the extra 'bench'")


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a tiny model and gives its path: `make_model(name, **fields of TinyModel)`."""
    return _model_maker(tmp_path)


def _model_maker(folder: Path) -> Callable[..., Path]:
    """See `make_model`."""

    def make(name: str = "model", **fields: Any) -> Path:
        model = TinyModel(**fields)
        path = folder / f"{name}{model.suffix}"
        model.write(path)
        return path

    return make


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str, str]]:
    """Run `quietframe bench …`; returns (exit code, standard output, standard error)."""
    from quietframe.cli import main

    def run(*args: object) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as done:
            main(["bench", *map(str, args)])
        printed = capsys.readouterr()
        return done.value.code, printed.out, printed.err

    return run


@pytest.fixture
def rows_of(bench: Callable[..., tuple[Any, str, str]], tmp_path: Path) -> Callable[..., tuple[list[Any], str]]:
    """Run `quietframe bench … --out`, which must succeed; returns (the rows as they are written, standard output)."""

    def run(*args: object) -> tuple[list[Any], str]:
        target = tmp_path / "rows.jsonl"
        code, out, err = bench(*args, "--out", target)
        assert code == 0, err
        return [json.loads(line) for line in target.read_text().splitlines()], out

    return run


@pytest.fixture
def browser() -> Iterator[Any]:
    """A Chromium; the test fails if a page of it reports an error. Skips where there is none."""
    pytest.importorskip("websockets", reason="driving Chromium needs websockets")
    chromium = load_program("tests/runtime/preview/chromium.py")
    if chromium.PROGRAM is None:
        pytest.skip("no Chromium is installed: apt install chromium")
    with chromium.Browser() as running:
        yield running
        assert running.errors == []


@pytest.fixture
def denoiser_file(make_model: Callable[..., Path]) -> Path:
    """A uint8 BGR denoiser of any size that is a multiple of 2, noise-conditioned (it adds the level)."""
    return make_model("tiny.int8", dtype="uint8", multiple=2, sigma=True)


@pytest.fixture
def shapes_at() -> Callable[[Path, tuple[int, int]], dict[str, tuple[int, ...]]]:
    """A function that gives the shapes of a model's inputs for a frame of a width and height that it takes."""

    def shapes(path: Path, size_wh: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        engine, card = open_model(path)
        free = {spec.name: {1: size_wh[1] // spec.stride, 2: size_wh[0] // spec.stride} for spec in card.inputs}
        return {
            name: tuple(free[name][axis] if size is None else size for axis, size in enumerate(info.shape))
            for name, info in engine.inputs.items()
        }

    return shapes


@pytest.fixture
def blur_file(make_model: Callable[..., Path]) -> Path:
    """A float32 BGR denoiser: a 3×3 mean."""
    return make_model("blur.fp32", blur=True)


@pytest.fixture
def classifier_file(make_model: Callable[..., Path]) -> Path:
    """A float32 classifier of 28×28 gray pictures."""
    return make_model("classifier.fp32", task="classify", colour="GRAY")


@pytest.fixture
def bad_file(tmp_path: Path) -> Path:
    """`bad.tflite`, which holds no model."""
    path = tmp_path / "bad.tflite"
    path.write_text("no model")
    return path


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Four smooth pictures of different sizes, one in a subfolder."""
    return _draw_pictures(tmp_path / "pictures")


def _draw_pictures(folder: Path) -> Path:
    """See `picture_folder`."""
    import cv2

    (folder / "more").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.png", "c.png", "more/d.png")):
        y, x = np.mgrid[0 : 40 + 4 * index, 0:48]
        picture = np.stack([x * 4, y * 4, 60 + x + y], axis=2).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / name), picture)
    return folder


@pytest.fixture(scope="session")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the blur model's file, a folder as `picture_folder`) for what is measured once for many tests: not to change."""
    folder = tmp_path_factory.mktemp("lasting")
    return _model_maker(folder)("blur.fp32", blur=True), _draw_pictures(folder / "pictures")


@pytest.fixture(scope="session")
def make_row() -> Callable[..., dict[str, Any]]:
    """`_make_row`."""
    return _make_row


def _make_row(median_ms: float = 10.0, *, seed: int = 0, rounds: int = 5, **fields: Any) -> dict[str, Any]:
    """Make a row of `quietframe bench speed --out`, with samples that lie 1 % around the median.

    Fields that hold an object are put into it, all others in place of what is.
    """
    spread = 1 + 0.01 * np.random.default_rng(seed).standard_normal(4 * rounds)
    shares = {"pre": 0.2, "engine": 0.7, "post": 0.1, "total": 1.0}
    row = {
        "schema": 4,
        "kind": "speed",
        "finished_utc": "2026-01-02T03:04:05+00:00",
        "model": {"file": "nano.int8.tflite", "file_bytes": 5, "sha256": "aa"},
        "name": "nano",
        "precision": "int8",
        "engine": "LiteRtEngine",
        "task": "denoise",
        "size_wh": [640, 480],
        "threads": 2,
        "error": None,
        "settings": {
            "sizes_wh": [[640, 480]],
            "threads": [2],
            "runs": 20,
            "warmup": 3,
            "frames": None,
            "rounds": rounds,
        },
        "machine": {
            "cpu": "Cortex-A76",
            "board": "Raspberry Pi 5",
            "architecture": "aarch64",
            "physical_cores": 4,
            "logical_cores": 4,
            "governor": "performance",
            "clock_mhz": 2400.0,
            "load_1min": 0.2,
        },
        "versions": {"python": "3.11.7", "numpy": "2.4.6"},
        "commit": {"sha": "d8854576257d98392f6806770f5c8dc14db766b0", "dirty": False},
        "round_runs": [4] * rounds,
        "samples_ns": {
            stage: [round(share * median_ms * 1e6 * factor) for factor in spread] for stage, share in shares.items()
        },
        "warmup_ns": [],
    }
    for name, value in fields.items():
        before = row.get(name)
        row[name] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
    return row


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes rows as JSON Lines and gives the file's path: `write_rows(name, *rows)`."""

    def write(name: str, *rows: dict[str, Any]) -> Path:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write

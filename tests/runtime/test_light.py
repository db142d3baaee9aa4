"""The runtime stays light: no training framework on the device, and no import that a command does not need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import quietframe
from quietframe.engines import ENGINES
from support.process import run_python

FRAMEWORKS = {"tensorflow", "keras", "jax", "torch"}
HEAVY = {"numpy", "cv2", "av", "PIL", "ai_edge_litert", "onnxruntime", "openvino", "rich"}

RUN_A_MODEL = """
import numpy as np
import quietframe as qf
frame_bgr = np.full((48, 64, 3), 90, np.uint8)
assert qf.Denoiser({model!r})(frame_bgr).shape == frame_bgr.shape
"""


def modules_after(code: str, path: Path | None = None) -> set[str]:
    """The top-level modules that a fresh Python holds after running `code`, with `path` first on its search path."""
    listing = "import sys; print('MODULES', *{name.partition('.')[0] for name in sys.modules})"
    script = f"import atexit; atexit.register(exec, {listing!r}, {{}})\n{code}"
    first = os.pathsep.join(filter(None, (str(path), os.environ.get("PYTHONPATH"))))
    done = run_python("-c", script, **({"PYTHONPATH": first} if path else {}))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("MODULES ")]
    return set(line.split()[1:])


def test_running_a_model_imports_its_engine_alone_and_no_training_framework(make_model, suffix):
    modules = modules_after(RUN_A_MODEL.format(model=str(make_model(suffix=suffix, sigma=True))))
    assert {"quietframe", "numpy", "cv2"} <= modules
    assert modules & {engine.package for engine in ENGINES.values()} == {ENGINES[suffix].package}
    assert not modules & (FRAMEWORKS | {"quietframe_train", "quietframe_export", "quietframe_bench"})


def test_the_check_above_sees_a_framework(denoiser_file, tmp_path):
    for framework in FRAMEWORKS:
        (tmp_path / f"{framework}.py").write_text("", encoding="utf-8")
    code = RUN_A_MODEL.format(model=str(denoiser_file)) + "import " + ", ".join(FRAMEWORKS)
    assert modules_after(code, tmp_path) & FRAMEWORKS == FRAMEWORKS


def test_importing_quietframe_imports_nothing_heavy():
    assert not modules_after("import quietframe") & (HEAVY | FRAMEWORKS)


def test_help_imports_nothing_heavy():
    modules = modules_after("from quietframe.cli import main; main(['--help'])")
    assert {"click", "quietframe"} <= modules
    assert not modules & (HEAVY | FRAMEWORKS)


def test_an_image_imports_no_av(tmp_path: Path, denoiser_file: Path) -> None:
    code = """
import cv2, numpy as np
from quietframe.cli import main
cv2.imwrite({source!r}, np.full((48, 64, 3), 90, np.uint8))
main(["denoise", {source!r}, "-o", {out!r}, "-m", {model!r}])
"""
    modules = modules_after(
        code.format(source=str(tmp_path / "a.png"), out=str(tmp_path / "b.png"), model=str(denoiser_file))
    )
    assert "PIL" in modules and "av" not in modules
    assert (tmp_path / "b.png").exists()


def test_a_video_imports_no_pillow(tmp_path, denoiser_file):
    code = """
import sys
from quietframe.cli import main
main(["denoise", {source!r}, "-o", {out!r}, "-m", {model!r}])
"""
    clip, model = str(tmp_path / "a.mp4"), str(denoiser_file)
    assert "PIL" not in modules_after(code.format(source="test:?size=64x48&frames=3", out=clip, model=model))
    assert "PIL" not in modules_after(code.format(source=clip, out=str(tmp_path / "b.mp4"), model=model))


def test_the_public_names_are_these():
    assert " ".join(quietframe.__all__) == (
        "Classification Classifier DenoiseClassification DenoiseClassifier Denoiser Frame FrameError Image "
        "MissingExtraError ModelCard ModelLoadError NoiseTracker OutputError Pipeline PipelineConfig QuietFrameError "
        "Sink Source SourceError UsageError VideoDenoiser builtin_models estimate_noise models open_sink open_source "
        "psnr read_image write_image"
    )


def test_every_public_name_is_there_and_documented():
    assert all(getattr(quietframe, name).__doc__ for name in quietframe.__all__)
    assert set(quietframe.__all__) <= set(dir(quietframe))
    with pytest.raises(AttributeError, match="no attribute 'Denoizer'"):
        _ = quietframe.Denoizer

"""Files that would take the process along are tried in another one. They are of a campaign of changed fields."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import quietframe as qf
from quietframe.engines import trial
from quietframe.engines.trial import SWITCH, try_model
from quietframe.errors import ModelLoadError

HOSTILE = Path(__file__).parent / "hostile"


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    """The folder where it is remembered what has passed."""
    monkeypatch.setenv(SWITCH, "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "quietframe" / "models"


@pytest.mark.parametrize("name", ["1d6ba060-1", "81c5d49b-2", "824ee68a-1"])
def test_what_is_wrong_with_a_file_is_said_without_running_it(cli, monkeypatch, name):
    monkeypatch.setenv(SWITCH, "0")
    result = cli("info", HOSTILE / f"min-model-tflite-{name}.tflite")
    assert result.code == 2
    assert len(result.error_lines) == 1
    assert re.search("adds 16-bit integers by shifts|too large to hold", result.err)


def onnx_of(path, *nodes, **constants):
    """Write an .onnx file for images of 8x8 whose last node gives `denoised`."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value, make = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [make(kind, given, [name], **more) for kind, given, name, more in nodes],
        "hostile",
        [value("image", 1, [1, 8, 8, 3])],
        [value("denoised", 1, [None, None, None, None])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
    return path


def test_what_would_fill_the_memory_is_one_line(tmp_path, cli, records):
    large = ("Expand", ["image", "shape"], "denoised", {})
    path = onnx_of(tmp_path / "large.onnx", large, shape=np.array([1 << 21, 8, 8, 3]))
    with pytest.raises(ModelLoadError, match="takes more than 1 GiB of memory when it is run"):
        try_model(path)
    assert not records.exists()
    result = cli("info", path)
    assert result.code == 2
    assert len(result.error_lines) == 1
    assert "--no-isolate" in result.err


def test_a_crash_is_named():
    with subprocess.Popen([sys.executable, "-c", "import os; os.abort()"], stdout=subprocess.PIPE) as child:
        assert trial._watch(child) == "crashes the process (SIGABRT)"


def test_a_file_is_tried_once_and_a_built_in_one_never(make_model, records, suffix):
    qf.Denoiser("camera-nano")
    assert not records.exists()
    path = make_model(suffix=suffix)
    qf.Denoiser(path)
    (record,) = records.iterdir()
    before = record.stat().st_mtime_ns
    qf.Denoiser(path)
    assert [each.stat().st_mtime_ns for each in records.iterdir()] == [before]


def test_without_a_folder_to_remember_it_a_file_opens_all_the_same(tmp_path, make_model, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    qf.Denoiser(make_model())


def test_the_trial_can_be_left_out(make_model, cli, records, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")  # the option sets it: this takes it back
    assert cli("info", make_model(), "--no-isolate").code == 0
    assert not records.exists()

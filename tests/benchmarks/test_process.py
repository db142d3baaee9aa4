from __future__ import annotations

import os

import numpy as np
import pytest

from quietframe_bench.process import Child, ChildError


def opened(child, path, **changes):
    request = {"task": "denoise", "size_wh": (64, 48), "threads": 1, "frames": None} | changes
    return child.call("subject:TimedModel", model=str(path), **request)


def test_a_child_measures_a_model(denoiser_file):
    with Child() as child:
        facts = opened(child, denoiser_file)
        block = child.call("subject:TimedModel.time", warmup=2, runs=7, min_secs=0)
        memory = child.call("subject:memory")
    assert facts["macs"] == 9 * 64 * 48  # the card says 9 a pixel
    assert min(facts["load_ms"], facts["first_frame_ms"], facts["import_ms"]) > 0
    assert len(block["warmup_ns"]) == 2
    assert {stage: len(times) for stage, times in block["stages_ns"].items()} == dict.fromkeys(
        ("pre", "engine", "post", "total"), 7
    )
    assert memory["peak_rss_mb"] >= memory["steady_rss_mb"] > 10


def test_macs_count_the_padding_and_the_tiles(make_model):
    padded = make_model("padded", multiple=8)
    tiled = make_model("tiled", size_hw=(32, 32), fit="tile")
    with Child() as child:
        assert opened(child, padded, size_wh=(61, 41))["macs"] == 9 * 64 * 48
    with Child() as child:
        assert opened(child, tiled, size_wh=(64, 64))["macs"] == 4 * 9 * 32 * 32


def test_the_parents_memory_is_not_the_childs(denoiser_file):
    ballast = np.ones(300_000_000, np.uint8)  # 300 MB, touched
    with Child() as child:
        opened(child, denoiser_file)
        peak_mb = child.call("subject:memory")["peak_rss_mb"]
    assert ballast.nbytes / 1e6 > 1.5 * peak_mb


def test_children_do_not_see_each_other(denoiser_file):
    with Child() as small, Child() as large:
        opened(small, denoiser_file)
        opened(large, denoiser_file, size_wh=(2048, 2048))
        assert large.call("subject:memory")["peak_rss_mb"] > small.call("subject:memory")["peak_rss_mb"] + 10


def test_an_error_comes_back_and_the_child_lives_on(denoiser_file, bad_file):
    with Child() as child:
        with pytest.raises(ChildError, match="not a LiteRT model"):
            opened(child, bad_file)
        with pytest.raises(ChildError, match="no TimedModel is open"):
            child.call("subject:TimedModel.time", warmup=0, runs=1, min_secs=0)
        assert opened(child, denoiser_file)["macs"]


def test_a_child_that_dies_says_how(denoiser_file):
    with Child() as child:
        opened(child, denoiser_file)
        os.kill(child._process.pid, 11)
        with pytest.raises(ChildError, match=r"died \(SIGSEGV\)"):
            child.call("subject:TimedModel.time", warmup=0, runs=1, min_secs=0)
        with pytest.raises(ChildError, match="died"):
            child.call("subject:memory")


def test_a_file_in_the_working_folder_does_not_stand_in_for_a_package(denoiser_file, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    with Child() as child:
        assert opened(child, denoiser_file)["macs"]

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from quietframe.zoo import builtin_models
from quietframe_bench import operators, roof
from quietframe_bench.litert_file import tflite_nodes
from quietframe_bench.roof import measure
from quietframe_bench.kinds.roofline import Bandwidth, Peak, Roof
from quietframe_bench.rows import read_rows


@pytest.fixture
def quick_roof(monkeypatch):
    """A roof without waiting for it; measuring it has tests of its own."""
    trials = [{"name": "a trial", "dtype": "int8", "macs": 10**9, "samples_ns": [10**6]}]

    def measure_roof(threads, *, secs=0.5, on_step=None):
        peaks = [Peak(engine, "int8", n, trials) for n in threads for engine in (".tflite", ".onnx")]
        return Roof(peaks, [Bandwidth("memory", n, 8, [1e10]) for n in threads])

    monkeypatch.setattr(measure, "measure_roof", measure_roof)


def test_ops_prints_a_table_and_the_clocks_and_writes_rows(bench, conditioned_file, tmp_path):
    target = tmp_path / "rows.json"
    code, out, _ = bench("--ops", conditioned_file, "--size", "64x48", "--threads", 1, "--runs", 3, "--json", target)
    assert code == 0
    for said in (conditioned_file.name, "64×48", "stopwatch", "between operators", "share"):
        assert said in out
    (row,) = read_rows(target)
    assert row["kind"] == "operators"
    assert row["model"]["file"] == conditioned_file.name
    assert row["settings"]["runs"] == 3
    assert {len(one["samples_ns"]) for one in row["operators"]} == {3}
    assert row["clocks_ms"]["stopwatch"] > 0


def test_a_failed_model_is_a_failed_row_and_exit_1(bench, denoiser_file, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    code, out, err = bench("--ops", bad, denoiser_file, "--size", "64x48", "--threads", 1, "--runs", 1)
    assert code == 1
    assert "failed" in out
    assert denoiser_file.name in out
    assert err.count("bad.tflite") == 1


def test_roof_prints_peaks_and_shares_and_draws(bench, quick_roof, shapes_at, tmp_path):
    pytest.importorskip("matplotlib", reason="the plot needs the extra 'bench'")
    target, plot = tmp_path / "rows.json", tmp_path / "roof.png"
    code, out, err = bench(
        *("--roof", "camera-nano", "--size", "96x64", "--threads", 1, "--runs", 2),
        *("--json", target, "--plot", plot),
    )
    assert code == 0, err
    for said in ("a trial", "1000.0", "of the peak", "MAC/byte", "camera-nano"):
        assert said in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    rows = read_rows(target)
    assert {row["kind"] for row in rows} == {"roof"}
    assert [row["row"] for row in rows] == ["peak", "peak", "bandwidth", "model"]
    model = rows[-1]
    assert model["reached"]["of_peak"] == pytest.approx(model["reached"]["gmacs_per_s"] / 1000)
    path = builtin_models()["camera-nano"]
    macs = [node.macs for node in tflite_nodes(path.read_bytes(), shapes_at(path, (96, 64)))]
    # Left out are those that run once a frame, on the noise level.
    assert len(model["layers"]) == sum(one > 1e-3 * sum(macs) for one in macs) > 3


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--ops", "--roof", "{model}"), "one of them"),
        (("--ops", "{model}", "--plot", "p.png"), "--plot does not go with"),
        (("--ops", "{model}", "--min-secs", "1"), "--min-secs does not go with"),
        (("--ops", "no-such-model"), "no such model"),
        (("--roof", "{model}", "--quality"), "one of them"),
        (("--roof", "{model}", "--plot", "p.jpg"), "ends in .png"),
        (("--roof", "{model}", "--plot", "{model}/no/p.png"), "no such folder"),
        (("{model}", "--plot", "p.png"), "--plot does not go with"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(bench, denoiser_file, args, says):
    code, out, err = bench(*(arg.format(model=denoiser_file) for arg in args))
    assert code == 2
    assert out == ""
    assert says in err
    assert len(err.strip().splitlines()) == 1


def test_importing_the_packages_opens_no_engine_and_no_framework():
    """The contract in CONTRIBUTING.md: heavy imports sit where they are used."""
    folders = [Path(package.__file__).parent for package in (operators, roof)]
    modules = [
        f"quietframe_bench.{path.parent.name}.{path.stem}" for folder in folders for path in folder.glob("[!_]*.py")
    ]
    assert len(modules) > 8
    code = f"import {', '.join(modules)}\nimport sys\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "quietframe_bench" in loaded
    assert not loaded & {"ai_edge_litert", "onnxruntime", "onnx", "matplotlib", "keras", "tensorflow"}

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from quietframe.errors import OutputError, UsageError
from quietframe_bench.kinds.profile import OperatorRow
from quietframe_bench.process import ChildError
from quietframe_bench.report import print_results
from quietframe_bench.roof import measure
from quietframe_bench.kinds.roofline import Bandwidth, Peak, Roof, layers_of, measure_roof, reached
from quietframe_bench.roof.report import roof_tables
from quietframe_bench.timing import Samples


def trial(name="one", macs=8_000_000, samples_ns=(100_000, 80_000)):
    return {"name": name, "dtype": "int8", "macs": macs, "samples_ns": list(samples_ns)}


@pytest.fixture
def roof():
    """100 GMAC/s in int8 and 20 in fp32 with one thread; memory 2 GB/s, the cache 5."""
    peaks = [
        Peak(".tflite", "int8", 1, [trial(), trial("other", samples_ns=[200_000])]),
        Peak(".tflite", "fp32", 1, [trial(samples_ns=[400_000])]),
        Peak(".onnx", "int8", 1, error="it broke"),
    ]
    return Roof(peaks, [Bandwidth("memory", 1, 100, [1e9, 2e9]), Bandwidth("cache", 1, 10, [5e9])])


@pytest.fixture
def row():
    """One layer that could reach the peak, one that memory holds up, one too small, and an addition."""
    layers = [(800_000, 8_000, 10_000), (160_000, 8_000, 8_000), (16, 1, 1_000), (0, 8_000, 2_000)]
    operators = [
        {"kind": "Conv", "name": f"layer{index}", "output_shape": [1], "macs": macs, "bytes": moved, "samples_ns": [ns]}
        for index, (macs, moved, ns) in enumerate(layers)
    ]
    return OperatorRow(
        Path("model.int8.tflite"),
        (640, 480),
        1,
        {"precision": "int8", "engine_runs": 1},
        Samples([], {stage: [48_000] for stage in ("pre", "engine", "post", "total")}),
        {"source": "a profiler", "runs_ns": [21_500], "operators": operators, "notes": ["a note"]},
    )


def test_the_peak_is_the_fastest_run_of_all_trials(roof):
    peak = roof.peaks[0]
    assert peak.best["name"] == "one"
    assert peak.gmacs_per_s == 100
    record = peak.as_record()
    assert record["median_gmacs_per_s"] == pytest.approx(8_000_000 / 90_000)
    assert len(record["trials"]) == 2


@pytest.mark.parametrize(
    ("name", "precision", "threads", "expected"),
    [
        ("m.tflite", "int8", 1, 100),
        ("m.tflite", "dynamic", 1, 100),
        ("m.tflite", "fp16", 1, 20),
        ("m.tflite", "int8", 2, None),
        ("m.onnx", "int8", 1, None),
    ],
)
def test_a_model_is_held_against_its_own_engine_and_arithmetic(roof, row, name, precision, threads, expected):
    row.model, row.threads, row.facts = Path(name), threads, {**row.facts, "precision": precision}
    peak = roof.peak_of(row)
    assert (peak and peak.gmacs_per_s) == expected
    assert bool(layers_of(row, roof)) == bool(reached(row, roof)) == bool(expected)


def test_layers_are_held_against_the_peak_or_what_feeds_them(roof, row):
    first, second = layers_of(row, roof)
    assert (first.intensity, first.gmacs_per_s, first.roof_gmacs_per_s, first.limit) == (100, 80, 100, "arithmetic")
    # 20 operations a byte: 40 GMAC/s out of memory, but the layer's tensors may still be in the cache, which feeds 100.
    assert (second.intensity, second.gmacs_per_s, second.roof_gmacs_per_s, second.limit) == (20, 20, 100, "memory")
    roof.bandwidths.pop()
    assert layers_of(row, roof)[1].roof_gmacs_per_s == 40


def test_a_model_reaches_its_work_by_the_stopwatch(roof, row):
    assert reached(row, roof) == pytest.approx({"engine_ms": 0.048, "gmacs_per_s": 20.000333, "of_peak": 0.20000333})
    row.error = "it broke"
    assert reached(row, roof) == {}


def test_everything_is_measured_in_rounds(monkeypatch):
    asked = []

    class FakeChild:
        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def ask(self, job, **arguments):
            asked.append((job, arguments))
            if job == "copies":
                return {"levels": [{"level": "memory", "held_bytes": 8, "rates": [1e9]}]}
            if arguments["suffix"] == ".onnx" and arguments["precision"] == "int8":
                raise ChildError("it broke")
            return {"trials": [trial(samples_ns=[10**5]), trial("other")]}

    monkeypatch.setattr(measure, "Child", FakeChild)
    steps = []
    roof = measure_roof((1, 2), secs=1.0, on_step=lambda text, step, of: steps.append((step, of)))
    assert [step for step, _ in steps] == list(range(len(steps)))
    assert {of for _, of in steps} == {len(steps)}
    assert {arguments["secs"] for _, arguments in asked} == {1.0 / measure.ROUNDS}
    good = [peak for peak in roof.peaks if not peak.error]
    assert [(peak.engine, peak.precision, peak.threads) for peak in good] == [
        (engine, precision, threads)
        for threads in (1, 2)
        for engine, precision in ((".tflite", "int8"), (".tflite", "fp32"), (".onnx", "fp32"))
    ]
    assert all(len(peak.trials[0]["samples_ns"]) == measure.ROUNDS for peak in good)
    assert roof.errors == ["peak of ONNX Runtime, int8: it broke"] * 2
    assert [len(one.rates) for one in roof.bandwidths] == [measure.ROUNDS] * 2


@pytest.mark.long
def test_the_roof_of_this_machine():
    roof = measure_roof((1,), secs=0.1)
    assert roof.errors == []
    assert len(roof.peaks) == 4
    assert min(peak.gmacs_per_s for peak in roof.peaks) > 0.1
    assert roof.bandwidths[0].gbytes_per_s > 0.1
    json.dumps([peak.as_record() for peak in roof.peaks], allow_nan=False)


def test_the_tables_tell_peaks_models_and_layers(roof, row, capsys):
    failed = OperatorRow(Path("bad.tflite"), error="it broke")
    print_results(*roof_tables(roof, [row, failed]))
    out = capsys.readouterr().out
    for said in ("100.0", "20.0%", "layer0", "arithmetic", "a note", "last cache", "failed"):
        assert said in out
    assert "layer2" not in out  # 16 operations
    print_results(*roof_tables(roof, []))
    assert "of the peak" not in capsys.readouterr().out


def test_the_roofline_has_a_panel_for_each_model(roof, row, tmp_path):
    pytest.importorskip("matplotlib", reason="the plot needs the extra 'bench'")
    from quietframe_bench.roof.plot import draw, panels_of

    (panel,) = panels_of(roof, [row, OperatorRow(Path("bad.tflite"), error="it broke")])
    assert panel.title == "model.int8.tflite at 640×480, threads: 1"
    assert panel.gbytes_per_s == (2, 5)
    assert [layer.index for layer in panel.layers] == [0, 1]
    sizes = []
    for count in (1, 2, 3):
        path = tmp_path / f"{count}.png"
        draw([panel] * count, path, "a machine")
        picture = cv2.imread(str(path))
        sizes.append(picture.shape[:2])
        assert picture.std() > 10
    assert sizes[1] == (sizes[0][0], 2 * sizes[0][1])
    assert sizes[2][0] > 1.5 * sizes[1][0]
    with pytest.raises(OutputError, match="nowhere"):
        draw([panel], tmp_path / "nowhere" / "plot.png", "")
    with pytest.raises(UsageError, match="no roofline"):
        draw([], tmp_path / "none.png", "")


def test_a_machine_whose_cache_is_not_known_has_one_slope(roof, row, tmp_path):
    pytest.importorskip("matplotlib", reason="the plot needs the extra 'bench'")
    from quietframe_bench.roof.plot import draw, panels_of

    roof.bandwidths.pop()
    draw(panels_of(roof, [row]), tmp_path / "plot.png", "a machine")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")

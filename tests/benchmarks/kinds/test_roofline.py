from __future__ import annotations

from copy import deepcopy

import cv2
import pytest

from quietframe.zoo import builtin_models
from quietframe_bench.kinds import profile, roofline
from quietframe_bench.kinds.profile import ProfileRow, draw_rooflines
from quietframe_bench.kinds.roofline import BandwidthRow, PeakRow, PeakTrial, measure_machine
from quietframe_bench.options import write_png
from quietframe_bench.plots import roofline_figure
from quietframe_bench.process import ChildError
from quietframe_bench.profiles import Operator, Profiled
from quietframe_bench.results import Results, read_results
from quietframe_bench.rows import Run

RUN = Run({})
MODEL = builtin_models()["camera-nano"]


def place(row, machine):
    """A profiled model's row, beside the machine."""
    row = deepcopy(row)
    roofline.place(row, machine)
    return row


def trial(name="one", macs=8_000_000, samples_ns=(100_000, 80_000)):
    return {"name": name, "dtype": "int8", "macs": macs, "samples_ns": list(samples_ns)}


def peak(engine, precision, *trials, error=None):
    made = [PeakTrial(**one) for one in trials]
    return RUN.row(PeakRow, None, engine=engine, precision=precision, threads=1, trials=made, error=error)


@pytest.fixture
def machine():
    """100 GMAC/s in int8 and 20 in fp32 with one thread; memory 2 GB/s, the cache 5."""
    return [
        peak("LiteRtEngine", "int8", trial(), trial("other", samples_ns=[200_000])),
        peak("LiteRtEngine", "fp32", trial(samples_ns=[400_000])),
        peak("OnnxEngine", "int8", error="it broke"),
        RUN.row(BandwidthRow, None, level="memory", threads=1, held_bytes=100, rates=[1e9, 2e9]),
        RUN.row(BandwidthRow, None, level="cache", threads=1, held_bytes=10, rates=[5e9]),
    ]


@pytest.fixture
def profiled():
    """One layer that could reach the peak, one that memory limits, one too small, and an addition."""
    layers = [(800_000, 8_000, 10_000), (160_000, 8_000, 8_000), (16, 1, 1_000), (0, 8_000, 2_000)]
    operators = [
        Operator("Conv", f"layer{index}", (1,), macs, moved, [ns]) for index, (macs, moved, ns) in enumerate(layers)
    ]
    about = {"precision": "int8", "engine": "LiteRtEngine", "card_macs": 960_016}
    row = RUN.row(ProfileRow, MODEL, size_wh=(640, 480), threads=1, **about)
    row.samples_ns.extend({stage: [48_000] for stage in ("pre", "engine", "post", "total")})
    row.finish(Profiled("a profiler", operators, ["a note"], [21_500]))
    return row


@pytest.fixture
def failed():
    return RUN.row(ProfileRow, MODEL, error="it broke")


def test_the_peak_is_the_fastest_run_of_all_trials(machine):
    assert machine[0].best.name == "one"
    assert machine[0].gmacs_per_s == 100


@pytest.mark.parametrize(
    ("engine", "precision", "threads", "expected"),
    [
        ("LiteRtEngine", "int8", 1, 100),
        ("LiteRtEngine", "dynamic", 1, 100),
        ("LiteRtEngine", "fp16", 1, 20),
        ("LiteRtEngine", "int8", 2, None),
        ("OnnxEngine", "int8", 1, None),
    ],
)
def test_a_model_is_compared_with_its_own_engine_and_arithmetic(
    machine, profiled, engine, precision, threads, expected
):
    profiled.engine, profiled.precision, profiled.threads = engine, precision, threads
    row = place(profiled, machine)
    assert row.peak_gmacs_per_s == expected
    assert bool(row.layers) == bool(row.of_peak) == bool(expected)


def test_layers_are_compared_with_the_peak_or_what_feeds_them(machine, profiled):
    first, second = place(profiled, machine).layers
    assert (first.intensity, first.gmacs_per_s, first.max_gmacs_per_s, first.limit) == (100, 80, 100, "arithmetic")
    # 20 operations a byte: 40 GMAC/s out of memory, but the layer's tensors may still be in the cache, which feeds 100.
    assert (second.intensity, second.gmacs_per_s, second.max_gmacs_per_s, second.limit) == (20, 20, 100, "memory")
    assert place(profiled, machine[:-1]).layers[1].max_gmacs_per_s == 40


def test_a_model_reaches_its_work_by_the_stopwatch(machine, profiled, failed):
    row = place(profiled, machine)
    assert (row.clocks_ms["stopwatch"], row.gmacs_per_s, row.of_peak) == pytest.approx((0.048, 20.000333, 0.20000333))
    assert place(failed, machine).of_peak is None


def test_everything_is_measured_in_rounds(monkeypatch):
    asked = []

    class FakeChild:
        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def call(self, path, **arguments):
            asked.append(arguments)
            if path == "peaks:copy_memory":
                return [{"level": "memory", "held_bytes": 8, "rates": [1e9]}]
            if arguments["suffix"] == ".onnx" and arguments["precision"] == "int8":
                raise ChildError("it broke")
            return [trial(samples_ns=[10**5]), trial("other")]

    monkeypatch.setattr(roofline, "Child", FakeChild)
    steps = []
    rows = measure_machine(RUN, (1, 2), secs=1.0, on_step=lambda text, step, of: steps.append((step, of)))
    assert [step for step, _ in steps] == list(range(len(steps)))
    assert {of for _, of in steps} == {len(steps)}
    assert {arguments["secs"] for arguments in asked} == {1.0 / roofline.ROUNDS}
    peaks = [row for row in rows if isinstance(row, PeakRow)]
    good = [row for row in peaks if not row.error]
    assert [(row.engine, row.precision, row.threads) for row in good] == [
        (engine, precision, threads)
        for threads in (1, 2)
        for engine, precision in (("LiteRtEngine", "int8"), ("LiteRtEngine", "fp32"), ("OnnxEngine", "fp32"))
    ]
    assert all([one.name for one in row.trials] == ["one", "other"] * roofline.ROUNDS for row in good)
    assert Results(rows).failures == ["peak of OnnxEngine, int8: it broke"]
    assert [len(row.rates) for row in rows if isinstance(row, BandwidthRow)] == [roofline.ROUNDS] * 2


@pytest.mark.long
def test_the_peak_of_this_machine(tmp_path):
    results = Results(measure_machine(RUN, (1,), secs=0.1))
    assert results.failures == []
    assert min(row.gmacs_per_s for row in results[:4]) > 0.1
    assert results[4].gbytes_per_s > 0.1
    results.to_json(tmp_path / "rows.jsonl")
    assert read_results(tmp_path / "rows.jsonl")[0].gmacs_per_s == results[0].gmacs_per_s


def test_the_tables_show_peaks_models_and_layers(machine, profiled, failed, capsys):
    places = [place(row, machine) for row in (profiled, failed)]
    Results([*machine, *places]).print()
    out = capsys.readouterr().out
    for text in ("100.0", "20.0%", "layer0", "arithmetic", "a note", "last cache", "failed"):
        assert text in out
    assert [layer.name for layer in places[0].layers] == ["layer0", "layer1"]  # layer2 has 16 operations
    Results(machine).print()
    assert "of the peak" not in capsys.readouterr().out


def test_the_roofline_has_a_panel_for_each_model(machine, profiled, failed, tmp_path):
    panel = place(profiled, machine)
    assert panel.label == f"{MODEL.name} 640×480, 1 thread"
    assert (panel.memory_gbytes_per_s, panel.cache_gbytes_per_s) == (2, 5)
    assert [layer.index for layer in panel.layers] == [0, 1]
    sizes = []
    for count in (1, 3):
        path = tmp_path / f"{count}.png"
        write_png(roofline_figure([panel] * count, "a machine"), path)
        image = cv2.imread(str(path))
        sizes.append(image.shape[:2])
        assert image.std() > 10
    assert sizes[1][1] == sizes[0][1]
    assert sizes[1][0] > 2.5 * sizes[0][0]
    assert draw_rooflines([*machine, place(failed, machine)]) is None


def test_a_machine_whose_cache_is_unknown_has_one_slope(machine, profiled):
    panels = draw_rooflines([place(profiled, machine)]), draw_rooflines([place(profiled, machine[:-1])])
    assert [len(figure.axes[0].lines) for figure in panels] == [3, 2]


def test_the_command_draws_and_writes_all_kinds_of_rows(bench, machine, tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "measure_machine", lambda run, threads, on_step: machine)
    target, plot = tmp_path / "rows.jsonl", tmp_path / "plot.png"
    quick = ("--size", "64x48", "--threads", 1, "--runs", 3)
    code, out, err = bench("profile", MODEL, "--roofline", *quick, "--out", target, "--plot", plot)
    assert code == 1  # a peak of the fixture is a failed one
    assert "it broke" in err
    assert "of the peak" in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    kinds = [row.kind for row in read_results(target)]
    assert kinds == ["peak"] * 3 + ["bandwidth"] * 2 + ["profile"]

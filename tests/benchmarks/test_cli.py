"""The command group: options, files, exit codes."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest

from quietframe_bench.cli import COMMANDS
from quietframe_bench.kinds import speed as speed_module
from quietframe_bench.results import KINDS


def read(path):
    """The lines of a file that `--out` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]


QUICK = ("--size", "64x48", "--threads", "1", "--runs", "10", "--min-secs", "0")


def test_every_command_says_what_it_does(bench):
    code, out, _ = bench("--help")
    assert code == 0
    for name, text in COMMANDS.items():
        assert name in out and text in " ".join(out.split())
        code, help_text, _ = bench(name, "--help")
        assert code == 0
        assert "--json" in help_text and "--overwrite" in help_text
        assert max(map(len, help_text.splitlines())) <= 80
    assert set(COMMANDS) - {"compare", "report", "profile"} <= set(KINDS)


def test_speed_prints_a_table_and_writes_rows_that_describe_themselves(rows_of, denoiser_file):
    (row,), out = rows_of("speed", denoiser_file, *QUICK, "--warmup", 2)
    assert denoiser_file.name in out
    assert "total/engine" in out
    assert (row["schema"], row["kind"]) == (4, "speed")
    assert row["model"]["sha256"] == hashlib.sha256(denoiser_file.read_bytes()).hexdigest()
    assert row["model"]["file_bytes"] == denoiser_file.stat().st_size
    assert (row["settings"]["runs"], row["settings"]["warmup"], row["settings"]["frames"]) == (10, 2, None)
    assert row["machine"]["physical_cores"] >= 1
    assert row["versions"]["numpy"] == np.__version__
    assert "commit" in row
    assert (row["size_wh"], row["threads"], row["engine"]) == ([64, 48], 1, "LiteRtEngine")
    for stage, times in row["samples_ns"].items():
        assert len(times) == 10
        assert row["stages"][stage]["p95_ms"] == pytest.approx(np.percentile(times, 95) / 1e6)
    assert len(row["warmup_ns"]) == 2 * len(row["round_runs"])
    ratio = row["stages"]["total"]["p50_ms"] / row["stages"]["engine"]["p50_ms"]
    assert row["total_over_engine_p50"] == pytest.approx(ratio)
    assert row["macs"] == 9 * 64 * 48
    assert min(row[key] for key in ("load_ms", "first_frame_ms", "peak_rss_mb")) > 0


def test_as_a_video_the_ratio_to_the_engine_is_of_means(rows_of, denoiser_file):
    (row,), out = rows_of("speed", denoiser_file, *QUICK, "--as-video", "--fps", 60)
    assert "ratio of means" in out
    assert row["settings"]["video_fps"] == 60
    means = {stage: np.mean(row["samples_ns"][stage]) for stage in ("total", "engine")}
    assert row["total_over_engine_mean"] == pytest.approx(means["total"] / means["engine"])
    assert f"{row['total_over_engine_mean']:.3f}" in out


def test_a_failed_model_is_a_failed_row_and_exit_1(bench, denoiser_file, tmp_path, bad_file):
    target = tmp_path / "rows.jsonl"
    code, out, err = bench("speed", bad_file, denoiser_file, *QUICK, "--out", target)
    assert code == 1
    assert "failed" in out
    assert err.count("bad.tflite") == 1
    failed, good = read(target)
    assert "not a LiteRT model" in failed["error"]
    assert failed["model"]["file"] == "bad.tflite"
    assert good["error"] is None
    assert len(good["samples_ns"]["total"]) == 10


def test_json_is_one_document_on_standard_output(bench, write_rows, make_row):
    code, out, _ = bench("report", write_rows("rows", make_row(), make_row(threads=1, error="broken")), "--json")
    assert code == 0  # nothing was measured that could fail
    document = json.loads(out)
    assert [row["kind"] for row in document["rows"]] == ["speed"] * 2
    assert document["failures"] == ["nano.int8.tflite: broken"]


FILES = {"out": "rows.jsonl", "csv": "rows.csv", "markdown": "rows.md", "html": "page.html"}


def test_no_file_is_replaced_without_overwrite_and_never_one_that_is_read(bench, write_rows, make_row, tmp_path):
    source = write_rows("source", make_row())
    for option, name in FILES.items():
        target = tmp_path / name
        target.write_text("mine")
        code, out, err = bench("report", source, f"--{option}", target)
        assert (code, out, target.read_text()) == (2, "", "mine")
        assert "--overwrite" in err
    everything = [part for option, name in FILES.items() for part in (f"--{option}", tmp_path / name)]
    assert bench("report", source, *everything, "--overwrite")[0] == 0
    assert all((tmp_path / name).read_text() != "mine" for name in FILES.values())
    code, _, err = bench("report", source, "--csv", source, "--overwrite")
    assert code == 2 and "is the source itself" in err


def test_csv_and_markdown_hold_the_same_figures(bench, denoiser_file, blur_file, tmp_path):
    files = [tmp_path / name for name in ("rows.jsonl", "rows.csv", "rows.md")]
    written = ("--out", files[0], "--csv", files[1], "--markdown", files[2])
    code, _, _ = bench("speed", denoiser_file, blur_file, *QUICK, *written)
    assert code == 0
    lines, text = read(files[0]), files[2].read_text()
    with files[1].open(newline="") as table:
        rows = list(csv.DictReader(table))
    for line, row in zip(lines, rows, strict=True):
        assert row["file"] == line["model"]["file"]
        assert float(row["total_p95_ms"]) == line["stages"]["total"]["p95_ms"]
        assert (row["width"], row["height"], row["threads"], row["runs"]) == ("64", "48", "1", "10")
        assert f"| {row['file']} | 64×48 | 1 | {line['stages']['engine']['p50_ms']:.2f} |" in text
    assert f"cpu: {lines[0]['machine']['cpu']}, " in text


def test_an_interrupted_run_is_resumed(bench, denoiser_file, blur_file, tmp_path, monkeypatch):
    target = tmp_path / "rows.jsonl"
    monkeypatch.setattr(speed_module, "BLOCK", 1)
    measure, opened = speed_module._measure_block, []

    def measure_one(jobs, *more):
        opened.extend(job.model for job in jobs)
        if len(opened) == 2:
            raise KeyboardInterrupt
        measure(jobs, *more)

    monkeypatch.setattr(speed_module, "_measure_block", measure_one)
    code, out, err = bench("speed", denoiser_file, blur_file, *QUICK, "--out", target)
    assert code not in (0, 1)
    assert out == ""
    assert "holds 1 rows: --resume continues" in err
    (first,) = read(target)
    code, out, _ = bench("speed", denoiser_file, blur_file, *QUICK, "--out", target, "--resume")
    assert code == 0
    assert opened == [denoiser_file, blur_file, blur_file]
    again, second = read(target)
    assert again == first
    assert second["model"]["file"] == blur_file.name
    assert denoiser_file.name in out and blur_file.name in out


def test_rows_of_another_run_are_not_mixed_in(bench, denoiser_file, tmp_path):
    target = tmp_path / "rows.jsonl"
    assert bench("speed", denoiser_file, *QUICK, "--out", target)[0] == 0
    before = target.read_bytes()
    code, out, err = bench("speed", denoiser_file, *QUICK, "--runs", 11, "--out", target, "--resume")
    assert (code, out) == (2, "")
    assert "other settings (runs 10, 11)" in err
    assert target.read_bytes() == before


def test_failed_rows_are_measured_again(bench, denoiser_file, tmp_path):
    target, model = tmp_path / "rows.jsonl", tmp_path / "model.tflite"
    model.write_text("no model")
    assert bench("speed", model, *QUICK, "--out", target)[0] == 1
    model.write_bytes(denoiser_file.read_bytes())
    assert bench("speed", model, *QUICK, "--out", target, "--resume")[0] == 0
    (row,) = read(target)
    assert row["error"] is None


def test_a_sustained_run_shows_its_start_and_its_end(rows_of, denoiser_file):
    (row,), out = rows_of("speed", "--sustained", 2, denoiser_file, "--size", "64x48", "--threads", 1)
    assert row["part_from_s"] == pytest.approx([0, 1], abs=0.3)
    parts_ns = np.split(row["samples_ns"]["total"], row["round_runs"][:1])
    halves = [np.median(part_ns) / 1e6 for part_ns in parts_ns]
    assert (row["ends_s"], row["first_p50_ms"], row["last_p50_ms"]) == pytest.approx((1, *halves))
    assert f"{halves[1] / halves[0]:.3f}" in out


def test_startup_prints_the_ratio_and_each_step(bench, denoiser_file, bad_file, classifier_file, tmp_path):
    target, models = tmp_path / "rows.jsonl", (classifier_file, denoiser_file, bad_file)
    code, out, err = bench("startup", *models, "--runs", 1, "--size", "64x48", "--out", target)
    *rows, failed = read(target)
    ratio = np.median(rows[0]["model_ns"]) / np.median(rows[0]["libraries_ns"])
    assert rows[1]["model_ns"] == []  # of the first model alone
    assert f"{ratio:.3f}" in out
    assert code == 1 and "failed" in out
    assert err.count("bad.tflite") == 1 and "bad.tflite" in failed["error"]
    assert ("above 1.3" in err) == (ratio > 1.3)
    assert [(row["model"]["file"], row["size_wh"]) for row in rows] == [
        (classifier_file.name, [28, 28]),
        (denoiser_file.name, [64, 48]),
    ]
    for row in rows:
        steps = [np.median(row["samples_ns"][step]) for step in ("process", "import", "load", "first_frame")]
        assert min(steps) > 0
        assert f"{sum(steps) / 1e6:.1f}" in out


def test_quality_prints_means_and_writes_each_image(rows_of, make_model, picture_folder):
    models = make_model("m.fp32", blur=True), make_model("m.int8", dtype="uint8", blur=True)
    rows, out = rows_of("quality", picture_folder, *models, "--sigma", "15,25", "--seed", 5)
    assert "noisy input" in out
    assert "int8 - fp32" in out
    assert {row["kind"] for row in rows} == {"quality"}
    assert len(rows) == 6
    assert {len(row["by_sample"]) for row in rows} == {4}
    assert rows[0]["model"] is None
    for row in rows:
        assert row["psnr_db"] == pytest.approx(np.mean([image["psnr_db"] for image in row["by_sample"].values()]))


def test_quality_without_a_model_judges_the_built_in_ones_for_frames(bench, picture_folder):
    code, out, _ = bench("quality", picture_folder, "--sigma", "25", "--limit", 1)
    assert code == 0
    assert "camera-nano" in out
    assert "digit" not in out  # it would see the image at 28×28


def test_baselines_print_tables_and_notes_and_write_everything(rows_of, lasting, tmp_path):
    blur_file, folder = lasting
    plot = tmp_path / "plot.png"
    quick = ("--size", "64x48", "--threads", 1, "--runs", 2, "--min-secs", 0, "--limit", 2, "--sigma", "25")
    baselines = ("--baselines", "bilateral,median")
    rows, out = rows_of("quality", folder, blur_file, *baselines, *quick, "--plot", plot)
    for text in (blur_file.name, "bilateral, best setting", "median, textbook", "favours"):
        assert text in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert {row["kind"] for row in rows} == {"quality", "speed", "quality-summary"}
    ours = next(row for row in rows if row["model"])
    assert ours["model"]["sha256"] == hashlib.sha256(blur_file.read_bytes()).hexdigest()
    assert len(ours["by_sample"]) == 2
    assert ours["settings"]["speed"]["runs"] == 2
    assert all(len(row["samples_ns"]["total"]) == 2 for row in rows if row["kind"] == "speed")
    assert next(row for row in rows if row["candidate"] == "median, textbook")["setting"] == {"ksize": 5}
    assert any("favours" in note for note in rows[-1]["notes"])


@pytest.fixture
def pair_folder(picture_folder):
    """Two pairs, `a` and `b`, without noise."""
    for name in ("a", "b"):
        image = (picture_folder / f"{name}.png").read_bytes()
        for end in ("noisy", "clean"):
            (picture_folder / f"{name}-{end}.png").write_bytes(image)
    return picture_folder


def test_a_plot_of_nothing_is_said_and_no_row_is_lost(bench, bad_file, pair_folder, tmp_path):
    target, plot = tmp_path / "rows.jsonl", tmp_path / "plot.png"
    options = ("--pair-suffixes=-noisy,-clean", "--baselines", "bilateral", "--out", target, "--plot", plot)
    code, _, err = bench("quality", pair_folder, bad_file, *options)
    assert code == 1
    assert "plot.png: there is nothing to draw" in err
    assert not plot.exists()
    assert [row["kind"] for row in read(target)] == [*["quality"] * 4, "quality-summary"]


def test_pairs_are_found_and_the_split_is_written(rows_of, denoiser_file, pair_folder):
    (*rows, summary), out = rows_of("quality", pair_folder, denoiser_file, "--pair-suffixes=-noisy,-clean")
    assert "noisy input" in out
    assert "constant level 0" in out  # there is no noise
    assert {(row["kind"], row["source"]) for row in rows} == {("quality", "pairs")}
    assert (summary["details"]["choose"], summary["details"]["report"]) == (["a"], ["b"])
    assert [row["candidate"] for row in rows] == [
        "noisy input",
        denoiser_file.name,
        f"{denoiser_file.name}, constant level 0",
    ]
    assert rows[0]["settings"]["rule"]["suffixes"] == ["-noisy", "-clean"]
    assert list(rows[1]["by_sample"]) == ["b"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("speed", "no-such-model"), "no such model"),
        (("speed", "{model}", "--size", "640x"), "640x480"),
        (("speed", "{model}", "--threads", "two"), "1,2"),
        (("speed", "{model}", "--fps", "15"), "--fps goes with --as-video"),
        (("speed", "{model}", "--sustained", "20", "--runs", "9"), "--runs does not go with --sustained"),
        (("speed", "{model}", "--resume"), "--out FILE"),
        (("speed", "{model}", "--out", "{folder}/nowhere/rows.jsonl"), "no such folder"),
        (("startup", "{model}", "--threads", "1,2"), "'--threads': this kind of measurement"),
        (
            ("startup", "{model}", "--size", "64x48", "--size", "32x24"),
            "'--size': this kind of measurement",
        ),
        (("quality",), "Missing argument 'FOLDER'"),
        (("quality", "{folder}", "{model}", "--sigma", "-1"), "15,25,50"),
        (("quality", "{folder}/nowhere", "{model}"), "no such folder"),
        (("quality", "{folder}", "{model}", "--as", "video"), "holds frames and sequences of frames"),
        (("quality", "{folder}/more", "{model}", "--as", "video"), "a video needs 2 frames or more"),
        (("quality", "{folder}", "{model}", "--as", "video", "--baselines", "median"), "Unknown baseline 'median'"),
        (("quality", "{folder}/more", "{model}", "--as", "video", "--skip", "3", "--limit", "4"), "3 that are skipped"),
        (("quality", "{folder}", "{model}", "--still"), "--still needs a folder of videos"),
        (("quality", "{folder}", "{model}", "--skip", "2"), "--skip needs a folder of videos"),
        (("quality", "{folder}", "{model}", "--as", "pairs"), "no pairs of names that end in _real and _mean"),
        (("quality", "{folder}", "{model}", "--as", "pairs", "--every", "2"), "--every goes with --baselines"),
        (("quality", "{folder}", "{model}", "--pair-suffixes", "_real"), "_real,_mean"),
        (("quality", "{folder}", "{model}", "--scene", "("), "not a regular expression"),
        (("quality", "{folder}", "{model}", "--same-scene", "GO"), "grass=flower"),
        (("quality", "{folder}", "{model}", "--plot", "p.png"), "--plot goes with --baselines"),
        (("quality", "{folder}", "{model}", "--runs", "9"), "--runs goes with --baselines"),
        (("quality", "{folder}", "{model}", "--format", "rgb"), "--format goes with --noise formats"),
        (("quality", "{folder}", "{model}", "--crop", "3", "5"), "--crop goes with --noise formats"),
        (("quality", "{folder}", "{model}", "--as", "pairs", "--sigma", "5"), "--sigma does not go with them"),
        (("quality", "{folder}", "--baselines", "all", "--plot", "p.jpg"), "ends in .png"),
        (("quality", "{folder}", "--baselines", "all", "--plot", "{folder}/no/p.png"), "no such folder"),
        (("quality", "{folder}", "--baselines", "NLM", "--size", "64x48,32x24"), "one --size"),
        (
            ("quality", "{folder}", "--as", "video", "--baselines", "NLM", "--runs", "9"),
            "--runs does not go with videos",
        ),
        (("profile", "{model}", "--plot", "p.png"), "--plot goes with --roofline"),
        (("report",), "Missing argument"),
        (("report", "{model}"), "not a whole row, schema 4, of quietframe bench"),
        (("melt",), "No such command"),
        (("sped",), "Did you mean 'speed'?"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(bench, denoiser_file, picture_folder, args, says):
    code, out, err = bench(*(arg.format(model=denoiser_file, folder=picture_folder) for arg in args))
    assert code == 2
    assert out == ""
    assert says in err
    assert len(err.strip().splitlines()) == 1

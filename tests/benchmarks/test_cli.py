from __future__ import annotations

import csv
import hashlib
import json

import cv2
import numpy as np
import pytest


def read(path):
    """The lines of a file that `--json` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]


QUICK = ("--size", "64x48", "--threads", "1", "--runs", "10", "--min-secs", "0")


def test_speed_prints_a_table_and_writes_rows_that_describe_themselves(bench, conditioned_file, tmp_path):
    target = tmp_path / "rows.json"
    code, out, _ = bench(conditioned_file, *QUICK, "--warmup", 2, "--json", target)
    assert code == 0
    assert conditioned_file.name in out
    assert "total/engine" in out
    (row,) = read(target)
    assert (row["schema"], row["kind"]) == (2, "speed")
    assert row["model"]["sha256"] == hashlib.sha256(conditioned_file.read_bytes()).hexdigest()
    assert row["model"]["file_bytes"] == conditioned_file.stat().st_size
    assert row["settings"]["runs"] == 10
    assert row["settings"]["warmup"] == 2
    assert row["settings"]["frames"] is None
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


def test_as_a_video_the_ratio_to_the_engine_is_of_means(bench, denoiser_file, tmp_path):
    target = tmp_path / "rows.json"
    code, out, _ = bench(denoiser_file, *QUICK, "--as-video", "--fps", 60, "--json", target)
    assert code == 0
    assert "ratio of means" in out
    (row,) = read(target)
    assert row["settings"]["video_fps"] == 60
    means = {stage: np.mean(row["samples_ns"][stage]) for stage in ("total", "engine")}
    assert row["total_over_engine_mean"] == pytest.approx(means["total"] / means["engine"])
    assert f"{row['total_over_engine_mean']:.3f}" in out


def test_a_failed_model_is_a_failed_row_and_exit_1(bench, denoiser_file, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    target = tmp_path / "rows.json"
    code, out, err = bench(bad, denoiser_file, *QUICK, "--json", target)
    assert code == 1
    assert "failed" in out
    assert err.count("bad.tflite") == 1
    failed, good = read(target)
    assert "not a LiteRT model" in failed["error"]
    assert failed["model"]["file"] == "bad.tflite"
    assert good["error"] is None
    assert len(good["samples_ns"]["total"]) == 10


def test_quality_prints_means_and_writes_each_picture(bench, make_model, picture_folder, tmp_path):
    models = make_model("m.fp32", blur=True), make_model("m.int8", dtype="uint8", blur=True)
    target = tmp_path / "rows.json"
    code, out, _ = bench(
        "--quality", "--data", picture_folder, *models, "--sigma", "15,25", "--seed", 5, "--json", target
    )
    assert code == 0
    assert "noisy input" in out
    assert "int8 - fp32" in out
    *rows, summary = read(target)
    assert {row["kind"] for row in rows} == {"quality"}
    assert len(rows) == 6
    assert {row["images"] for row in rows} == {4}
    assert rows[0]["model"] is None
    for row in rows:
        assert row["psnr_db"] == pytest.approx(np.mean([image["psnr_db"] for image in row["by_image"].values()]))
    assert summary["kind"] == "quality-summary"
    assert [drop["sigma_255"] for drop in summary["int8_drops"]] == [15, 25]


def test_quality_without_a_model_judges_the_built_in_ones_for_frames(bench, picture_folder):
    code, out, _ = bench("--quality", "--data", picture_folder, "--sigma", "25", "--limit", 1)
    assert code == 0
    assert "camera-nano" in out
    assert "digit" not in out  # it would see the picture at 28×28


def test_quality_with_a_broken_picture_names_it_and_is_exit_1(bench, blur_file, picture_folder):
    (picture_folder / "broken.png").write_bytes(b"\x89PNG not really")
    code, out, err = bench("--quality", "--data", picture_folder, blur_file, "--sigma", "25")
    assert code == 1
    assert "broken.png" in err
    assert blur_file.name in out


@pytest.fixture
def video_folder(tmp_path):
    """Two sequences of three frames."""
    folder = tmp_path / "videos"
    for index, name in enumerate(("first", "second")):
        (folder / name).mkdir(parents=True)
        for frame in range(3):
            cv2.imwrite(str(folder / name / f"{frame}.png"), np.full((40, 48, 3), 100 + 10 * index + frame, np.uint8))
    return folder


def test_video_prints_means_and_writes_each_frame(bench, blur_file, video_folder, tmp_path):
    target = tmp_path / "rows.json"
    code, out, _ = bench(
        "--video", "--data", video_folder, blur_file, "--sigma", "15,25", "--limit", 2, "--json", target
    )
    assert code == 0
    assert [out.count(name) for name in ("mean", "first", "second")] == [5, 4, 4]  # one in the title
    rows = read(target)
    assert {row["kind"] for row in rows} == {"video"}
    assert len(rows) == 4
    assert rows[0]["model"] is None
    for row in rows:
        assert row["settings"]["limit"] == 2
        assert row["psnr_db"] == pytest.approx(np.mean([found["psnr_db"] for found in row["by_sequence"].values()]))
        for found in row["by_sequence"].values():
            assert list(found["by_frame"]) == ["0.png", "1.png"]
            assert found["flicker_255"] == found["by_frame"]["1.png"]["flicker_255"]
            assert f"{found['flicker_255']:.2f}" in out
    assert {row["estimated_sigma_255"] is None for row in rows if row["model"]} == {True}


def test_video_with_a_broken_frame_names_it_and_is_exit_1(bench, blur_file, video_folder, tmp_path):
    (video_folder / "second" / "1.png").write_bytes(b"\x89PNG not really")
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    code, out, err = bench("--video", "--data", video_folder, blur_file, bad, "--sigma", "25")
    assert code == 1
    assert f"{blur_file.name}: second: 1.png: " in err
    assert err.count("bad.tflite") == 1
    assert out.count("failed") == 3  # the sequence of the noisy input and of the blur, and the model


def test_peers_prints_tables_and_notes_and_writes_everything(bench, lasting, tmp_path):
    blur_file, folder = lasting
    target, plot = tmp_path / "rows.json", tmp_path / "plot.png"
    quick = ("--size", "64x48", "--threads", 1, "--runs", 2, "--min-secs", 0, "--limit", 2, "--sigma", "25")
    code, out, err = bench(
        "--quality", "--peers", "--data", folder, blur_file, *quick, "--json", target, "--plot", plot
    )
    assert code == 0, err
    for said in (blur_file.name, "bilateral, best setting", "NLM, textbook", "whole ms", "flatters", "--peer-weights"):
        assert said in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    *rows, summary = read(target)
    assert {(row["schema"], row["kind"]) for row in rows} == {(2, "quality")}
    ours = next(row for row in rows if row["model"])
    assert ours["model"]["sha256"] == hashlib.sha256(blur_file.read_bytes()).hexdigest()
    assert len(ours["by_image"]) == 2
    assert ours["settings"]["speed"]["runs"] == 2
    comparison = summary["comparison"]
    assert {grid["method"] for grid in comparison["grids"]} == {"bilateral", "median", "Gaussian", "NLM"}
    assert all(len(times["samples_ns"]["total"]) == 2 for times in comparison["times"])
    assert comparison["textbook"]["NLM"] == {"h": 10, "hColor": 10, "templateWindowSize": 7, "searchWindowSize": 21}
    assert any("flatters" in note for note in comparison["notes"])


def test_peers_with_weights_that_are_none_is_exit_1(bench, lasting, tmp_path):
    blur_file, folder = lasting
    (tmp_path / "ffdnet_color_clip.npz").write_bytes(b"no archive")
    quick = ("--size", "64x48", "--runs", 1, "--min-secs", 0, "--limit", 1, "--sigma", "25")
    cache = tmp_path / "cache"
    code, out, err = bench(
        *("--quality", "--peers", "--data", folder, blur_file, *quick),
        *("--peer-weights", tmp_path, "--peer-cache", cache),
    )
    assert code == 1
    assert f"kept in {cache}" in err
    assert "not a NumPy archive" in err
    assert "failed" in out
    assert blur_file.name in out


def test_pairs_prints_the_half_to_report_on_and_writes_the_split(bench, denoiser_file, picture_folder, tmp_path):
    for name in ("a", "b"):
        picture = (picture_folder / f"{name}.png").read_bytes()
        for end in ("noisy", "clean"):
            (picture_folder / f"{name}-{end}.png").write_bytes(picture)
    target = tmp_path / "rows.json"
    code, out, _ = bench(
        "--pairs", "--data", picture_folder, "--pair-suffixes=-noisy,-clean", denoiser_file, "--json", target
    )
    assert code == 0
    assert "noisy input" in out
    assert "constant level 0" in out  # there is no noise
    *rows, summary = read(target)
    assert {row["kind"] for row in rows} == {"pairs"}
    assert (summary["pairs"]["choose"], summary["pairs"]["report"]) == (["a"], ["b"])
    assert [row["contender"] for row in rows] == [
        "noisy input",
        denoiser_file.name,
        f"{denoiser_file.name}, constant level 0",
    ]
    assert rows[0]["settings"]["pair_suffixes"] == ["-noisy", "-clean"]
    assert list(rows[1]["by_image"]) == ["b"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("no-such-model",), "no such model"),
        (("{model}", "--size", "640x"), "640x480"),
        (("{model}", "--size", "0x10"), "640x480"),
        (("{model}", "--threads", "two"), "1,2"),
        (("{model}", "--sigma", "15"), "--sigma does not go with"),
        (("{model}", "--fps", "15"), "--fps does not go with"),
        (("{model}", "--as-video", "--live"), "--as-video does not go with"),
        (("{model}", "--quality", "--data", "{folder}", "--threads", "2"), "--threads does not go with"),
        (("{model}", "--quality", "--data", "{folder}", "--sigma", "-1"), "15,25,50"),
        (("{model}", "--quality", "--data", "{folder}/nowhere"), "no such folder"),
        (("{model}", "--quality"), "--data FOLDER"),
        (("{model}", "--data", "{folder}"), "--data does not go with"),
        (("{model}", "--quality", "--data", "{folder}", "--startup"), "one of them"),
        (("{model}", "--startup", "--threads", "1,2"), "one number of --threads"),
        (("{model}", "--sustained", "20", "--startup"), "--startup and --sustained measure different things"),
        (("{model}", "--sustained", "20", "--runs", "9"), "--runs does not go with"),
        (("{model}", "--resume"), "--json FILE"),
        (("{model}", "--startup", "--csv", "{folder}/a.csv"), "--csv does not go with"),
        (("{model}", "--markdown", "{folder}/nowhere/a.md"), "no such folder"),
        (("{model}", "--video", "--quality", "--data", "{folder}"), "one of them"),
        (("{model}", "--video", "--data", "{folder}", "--startup"), "one of them"),
        (("{model}", "--video", "--data", "{folder}", "--threads", "2"), "--threads does not go with"),
        (("{model}", "--video", "--data", "{folder}"), "holds frames and sequences of frames"),
        (("{model}", "--video", "--data", "{folder}/nowhere"), "no such folder"),
        (("{model}", "--video", "--data", "{folder}/more"), "a video needs 2 frames or more"),
        (("{model}", "--video", "--data", "{folder}", "--limit", "1"), "a video needs 2 frames or more"),
        (("{model}", "--pairs"), "--data FOLDER"),
        (("{model}", "--pairs", "--data", "{folder}"), "no pairs of names that end in _real and _mean"),
        (("{model}", "--pairs", "--data", "{folder}", "--sigma", "25"), "--sigma does not go with"),
        (("{model}", "--pairs", "--data", "{folder}", "--every", "2"), "--every goes with --peers"),
        (("{model}", "--pairs", "--data", "{folder}", "--pair-suffixes", "_real"), "_real,_mean"),
        (("{model}", "--pairs", "--data", "{folder}", "--scene", "("), "not a regular expression"),
        (("{model}", "--pairs", "--data", "{folder}", "--same-scene", "GO"), "grass=flower"),
        (("{model}", "--pairs", "--quality", "--data", "{folder}"), "one of them"),
        (("{model}", "--scene", "x"), "--scene does not go with"),
        (("{model}", "--peers"), "--peers does not go with"),
        (("{model}", "--quality", "--data", "{folder}", "--plot", "p.png"), "--plot does not go with"),
        (("--quality", "--peers", "--data", "{folder}", "--plot", "p.jpg"), "ends in .png"),
        (("--quality", "--peers", "--data", "{folder}", "--plot", "{folder}/no/p.png"), "no such folder"),
        (("--quality", "--peers", "--data", "{folder}", "--size", "64x48,32x24"), "one --size"),
        (("--quality", "--peers", "--data", "{folder}", "--peer-weights", "{folder}"), "ffdnet_color_clip.npz"),
        (("--quality", "--peers", "--data", "{folder}", "--peer-calibrate", "{folder}"), "--peer-weights"),
        (("{model}", "--json", "{folder}/nowhere/rows.json"), "no such folder"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(bench, denoiser_file, picture_folder, args, says):
    code, out, err = bench(*(arg.format(model=denoiser_file, folder=picture_folder) for arg in args))
    assert code == 2
    assert out == ""
    assert says in err
    assert len(err.strip().splitlines()) == 1


def test_startup_prints_the_ratio_and_each_step(bench, conditioned_file, classifier_file, tmp_path):
    target = tmp_path / "rows.jsonl"
    code, out, _ = bench(
        "--startup", classifier_file, conditioned_file, "--runs", 1, "--size", "64x48", "--json", target
    )
    *rows, ratio = read(target)
    assert f"{ratio['ratio']:.3f}" in out
    assert ratio["kind"] == "startup-summary"
    assert ratio["ratio"] == pytest.approx(ratio["denoiser_ms"] / ratio["libraries_ms"])
    assert code == (ratio["ratio"] > ratio["goal_ratio"])
    assert [(row["model"]["file"], row["size_wh"]) for row in rows] == [
        (classifier_file.name, [28, 28]),
        (conditioned_file.name, [64, 48]),
    ]
    for row in rows:
        steps = [row[f"{step}_ms"] for step in ("process", "import", "load", "first_frame")]
        assert min(steps) > 0
        assert row["ready_ms"] == pytest.approx(sum(steps))
        assert f"{row['ready_ms']:.1f}" in out


def test_startup_of_a_model_that_does_not_open(bench, denoiser_file, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    code, out, err = bench("--startup", bad, denoiser_file, "--runs", 1, "--size", "64x48")
    assert code == 1
    assert "failed" in out and denoiser_file.name in out
    assert err.count("bad.tflite") == 1


def test_a_sustained_run_tells_its_start_and_its_end(bench, denoiser_file, tmp_path, monkeypatch):
    from quietframe_bench import sustained

    monkeypatch.setattr(sustained, "_LOOK_S", 1.0)
    target = tmp_path / "rows.jsonl"
    code, out, _ = bench("--sustained", 2, denoiser_file, "--size", "64x48", "--threads", 1, "--json", target)
    assert code == 0
    (row,) = read(target)
    assert [part["from_s"] for part in row["parts"]] == pytest.approx([0, 1], abs=0.3)
    halves = [np.median(part["samples_ns"]) / 1e6 for part in row["parts"]]
    assert [row["first_p50_ms"], row["last_p50_ms"]] == pytest.approx(halves)
    assert f"{row['last_over_first']:.3f}" in out


def test_csv_and_markdown_hold_the_same_figures(bench, denoiser_file, blur_file, tmp_path):
    files = [tmp_path / name for name in ("rows.jsonl", "rows.csv", "rows.md")]
    code, _, _ = bench(
        *(denoiser_file, blur_file, *QUICK), *("--json", files[0], "--csv", files[1], "--markdown", files[2])
    )
    assert code == 0
    lines, text = read(files[0]), files[2].read_text()
    with files[1].open(newline="") as table:
        rows = list(csv.DictReader(table))
    for line, row in zip(lines, rows, strict=True):
        assert row["file"] == line["model"]["file"]
        assert float(row["total_p95_ms"]) == line["stages"]["total"]["p95_ms"]
        assert (row["width"], row["height"], row["threads"], row["runs"]) == ("64", "48", "1", "10")
        assert f"| `{row['file']}` | 64×48 | 1 | {line['stages']['engine']['p50_ms']:.2f} |" in text
    assert text.startswith(f"{lines[0]['machine']['cpu']}, ")


def test_an_interrupted_run_goes_on_where_it_was(bench, denoiser_file, blur_file, tmp_path, monkeypatch):
    from quietframe_bench import speed

    target = tmp_path / "rows.jsonl"
    monkeypatch.setattr(speed, "BLOCK", 1)
    measure, opened = speed._measure_block, []

    def measure_one(rows, *more):
        opened.extend(row.model for row in rows)
        if len(opened) == 2:
            raise KeyboardInterrupt
        measure(rows, *more)

    monkeypatch.setattr(speed, "_measure_block", measure_one)
    code, out, err = bench(denoiser_file, blur_file, *QUICK, "--json", target)
    assert code not in (0, 1)
    assert out == ""
    assert "holds 1 row: --resume goes on with it" in err
    (first,) = read(target)
    code, out, _ = bench(denoiser_file, blur_file, *QUICK, "--json", target, "--resume")
    assert code == 0
    assert opened == [denoiser_file, blur_file, blur_file]
    again, second = read(target)
    assert again == first
    assert second["model"]["file"] == blur_file.name
    assert denoiser_file.name in out and blur_file.name in out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ((*QUICK, "--runs", 11), "runs was 10 and is 11"),
        (("--startup",), "--resume does not go with"),
    ],
)
def test_rows_of_another_run_are_not_mixed_in(bench, denoiser_file, tmp_path, more, says):
    target = tmp_path / "rows.jsonl"
    assert bench(denoiser_file, *QUICK, "--json", target)[0] == 0
    before = target.read_bytes()
    code, out, err = bench(denoiser_file, *more, "--json", target, "--resume")
    assert (code, out) == (2, "")
    assert says in err
    assert target.read_bytes() == before


def test_failed_rows_are_measured_again(bench, denoiser_file, tmp_path):
    target, model = tmp_path / "rows.jsonl", tmp_path / "model.tflite"
    model.write_text("no model")
    assert bench(model, *QUICK, "--json", target)[0] == 1
    model.write_bytes(denoiser_file.read_bytes())
    assert bench(model, *QUICK, "--json", target, "--resume")[0] == 0
    (row,) = read(target)
    assert row["error"] is None

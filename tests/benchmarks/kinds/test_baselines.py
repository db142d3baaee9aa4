from __future__ import annotations

import base64
import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import quietframe_bench
from quietframe import Denoiser
from quietframe.errors import SourceError, UsageError
from quietframe.images import Image, read_image, write_image
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.classical import METHODS, ClassicalDenoiser
from quietframe_bench.comparison import ComparisonSettings, Networks, check_settings, compare, make_networks
from quietframe_bench.comparison_report import comparison_record, document_rows, notes, settings_of
from quietframe_bench.contenders import Contender
from quietframe_bench.image_quality import QualityRow, QualitySettings, find_pictures
from quietframe_bench.page import to_html
from quietframe_bench.report import Report
from quietframe_bench.kinds.speed import ROUNDS, SpeedSettings

HAS_BM3D = importlib.util.find_spec("bm3d") is not None
QUICK = SpeedSettings(sizes_wh=((64, 48),), threads=(1,), runs=ROUNDS, min_secs=0, warmup=0)


def settings_for(folder, *sigmas_255, **changes):
    return ComparisonSettings(QualitySettings(folder, sigmas_255, seed=2), QUICK, every=2, **changes)


@pytest.fixture
def settings(picture_folder):
    """With one method, which is quick."""
    return settings_for(picture_folder, 20.0, methods=("median",))


@pytest.fixture(scope="module")
def measured(lasting):
    """(what was found, settings) of a whole comparison."""
    blur_file, folder = lasting
    settings = settings_for(folder, 20.0, 40.0)
    return compare([blur_file], settings, make_networks(settings)), settings


def noisy_pairs(settings, sigma_255):
    for index, path in enumerate(find_pictures(settings.quality.folder)):
        clean = read_image(path).pixels
        yield clean, add_gaussian(clean, sigma_255, np.random.default_rng([2, index, round(sigma_255 * 1000)]))


def test_models_and_filters_are_judged_on_the_same_frames(measured, lasting):
    found, settings = measured
    blur_file, _ = lasting
    rows = {(row.name, row.sigma_255): row for row in found.rows}
    frames = [*noisy_pairs(settings, 40.0)]
    best = rows["bilateral, best setting", 40.0].contender.setting
    expected = {
        "noisy input": lambda frame: frame,
        blur_file.name: Denoiser(blur_file),
        "Gaussian, textbook": ClassicalDenoiser("Gaussian", METHODS["Gaussian"].textbook, threads=1),
        "bilateral, best setting": ClassicalDenoiser("bilateral", best, threads=1),
    }
    for name, denoise in expected.items():
        reached = np.mean([psnr_db(clean, denoise(frame)) for clean, frame in frames])
        assert rows[name, 40.0].mean("psnr_db") == pytest.approx(reached)
        assert len(rows[name, 40.0].figures) == 4


def test_the_best_setting_is_chosen_for_each_level_on_a_part_of_the_pictures(measured):
    found, settings = measured
    choices = {(choice.method, choice.sigma_255): choice for choice in found.choices}
    assert len(choices) == 8
    assert {choice.images for choice in choices.values()} == {2}
    for row in found.rows:
        if row.name.endswith("best setting"):
            assert row.contender.setting == choices[row.contender.method, row.sigma_255].setting
    grid = comparison_record(found, settings)["comparison"]["grids"]
    assert {len(choice["tried"]) for choice in grid} == {48, 3, 7, 32}
    assert all(choice["tried"][0]["psnr_db"] >= choice["tried"][-1]["psnr_db"] for choice in grid)


def test_everything_is_timed_once_by_the_same_watch(measured, lasting):
    found, _ = measured
    blur_file, _ = lasting
    timed = [(one.contender.name, tuple(one.contender.setting.items())) for one in found.times]
    assert len(timed) == len(set(timed))
    for row in found.rows:
        times = found.time_of(row)
        if row.name == "noisy input":
            assert times is None
            continue
        assert times.error is None
        assert times.p50_ms("engine") <= times.p50_ms("total")
        assert len(times.samples) == ROUNDS
    (ours,) = [one for one in found.times if one.contender.model]
    assert ours.contender.model == blur_file
    assert ours.facts["macs"] == 9 * 64 * 48
    assert ours.gmacs_per_s == pytest.approx(9 * 64 * 48 / ours.p50_ms("engine") / 1e6)
    assert all(one.gmacs_per_s is None for one in found.times if one is not ours)


def test_the_page_names_every_contender_with_its_time_and_draws_them(measured, lasting):
    found, settings = measured
    lines = Report("quality", settings_of(settings)).lines(document_rows(found), **comparison_record(found, settings))
    page = to_html(lines)
    for row in found.rows:
        assert f">{row.name}<" in page
        if times := found.time_of(row):
            assert f">{times.p50_ms('total'):.2f}<" in page
    (plot,) = re.findall(r'alt="PSNR against time" src="data:image/svg\+xml;base64,([^"]*)"', page)
    drawn = base64.b64decode(plot).decode()
    assert "blur fp32" in drawn
    assert "bilateral" in drawn


def test_what_is_not_measured_says_what_it_takes(measured):
    found, settings = measured
    said = "\n".join(notes(found, settings))
    assert set(found.absent) - {"CBM3D"} == {"FFDNet fp32", "FFDNet int8"}
    assert "--peer-weights FOLDER with ffdnet_color_clip.npz" in found.absent["FFDNet int8"]
    assert "github.com/cszn/FFDNet" in said
    assert ("CBM3D" in found.absent) != HAS_BM3D
    assert not found.failures()


@pytest.mark.skipif(not HAS_BM3D, reason="CBM3D needs the extra 'peers'")
def test_cbm3d_is_told_the_level_and_judged_on_the_part(measured):
    found, _ = measured
    rows = [row for row in found.rows if row.contender.method == "CBM3D"]
    assert [(row.name, row.contender.setting) for row in rows] == [
        ("CBM3D, level told", {"sigma": 20.0}),
        ("CBM3D, level told", {"sigma": 40.0}),
    ]
    noisy = found.rows[0]
    assert all(set(row.figures) == set(list(noisy.figures)[::2]) for row in rows)
    assert [one.contender.setting for one in found.times if one.contender.name == "CBM3D"] == [{"sigma": 25.0}]


def test_the_notes_say_what_flatters_the_filters(measured):
    found, settings = measured
    said = " ".join(notes(found, settings))
    assert "every second picture (2) of these same pictures" in said
    assert "that flatters the filters" in said
    assert all(method.grid_text in said for method in METHODS.values())


def test_gray_pictures_are_compared_as_gray_frames(tmp_path, blur_file):
    clean = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8) + 60
    write_image(tmp_path / "gray.png", Image(clean))
    settings = settings_for(tmp_path, 25.0, methods=("NLM",))
    found = compare([blur_file], settings, make_networks(settings))
    assert found.gray
    assert "ffdnet_gray.npz" in found.absent["FFDNet fp32"]
    assert not any("hColor" in row.contender.setting for row in found.rows if row.name == "NLM, best setting")
    assert any("three equal channels" in note for note in notes(found, settings))


def test_contenders_that_fail_are_failed_rows_and_the_others_go_on(blur_file, settings, tmp_path, picture_folder):
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    (picture_folder / "broken.png").write_bytes(b"\x89PNG not really")
    unmade = QualityRow(Contender("FFDNet fp32", model=tmp_path / "unmade.tflite"), 20.0, error="no exporter")
    found = compare([bad, blur_file], settings, Networks(rows=[unmade]))
    rows = {row.name: row for row in found.rows}
    assert rows["FFDNet fp32"].error == "no exporter"
    assert "not a LiteRT model" in rows["bad.tflite"].error
    assert len(rows[blur_file.name].figures) == 4
    assert {one.contender.name for one in found.times} == {blur_file.name, "median"}
    failures = found.failures()
    assert sum("broken.png" in failure for failure in failures) == 1
    assert sum("bad.tflite" in failure for failure in failures) == 1
    assert "FFDNet fp32: no exporter" in failures
    assert [path and path.name for path, _ in document_rows(found)].count("unmade.tflite") == 0


def test_weights_that_are_none_are_failed_rows(settings, tmp_path):
    (tmp_path / "ffdnet_color_clip.npz").write_bytes(b"no archive")
    settings = replace(settings, weights=tmp_path, cache=tmp_path / "cache")
    check_settings(settings)
    networks = make_networks(settings)
    assert {row.name for row in networks.rows} == {"FFDNet fp32", "FFDNet fp32, level told"}
    assert all("not a NumPy archive" in row.error for row in networks.rows)
    assert list(networks.absent) == ["FFDNet int8"]
    assert "--peer-calibrate" in networks.absent["FFDNet int8"]


def test_what_would_fail_late_is_said_at_once(settings, tmp_path, picture_folder):
    with pytest.raises(UsageError, match=r"ffdnet_color_clip\.npz: no such file"):
        check_settings(replace(settings, weights=tmp_path))
    with pytest.raises(UsageError, match="--peer-weights"):
        check_settings(replace(settings, calibrate=tmp_path))
    with pytest.raises(UsageError, match="one --size"):
        check_settings(replace(settings, speed=SpeedSettings(threads=(1, 2))))
    with pytest.raises(SourceError, match="no such folder"):
        check_settings(replace(settings, quality=QualitySettings(tmp_path / "nowhere")))


def test_pictures_that_are_judged_with_do_not_calibrate(settings, tmp_path, picture_folder):
    (tmp_path / "ffdnet_color_clip.npz").touch()
    other = tmp_path / "other"
    other.mkdir()
    write_image(other / "new.png", Image(np.zeros((40, 40, 3), np.uint8)))
    settings = replace(settings, weights=tmp_path, calibrate=other)
    check_settings(settings)
    (other / "renamed.png").write_bytes((picture_folder / "b.png").read_bytes())
    with pytest.raises(UsageError, match=r"renamed\.png: is also judged with .*b\.png"):
        check_settings(settings)


def test_importing_the_room_imports_no_framework_and_no_other_room():
    """The contract in CONTRIBUTING.md: train and export are imported inside functions."""
    modules = ", ".join(path.stem for path in Path(quietframe_bench.__file__).parent.glob("[!_]*.py"))
    code = f"from quietframe_bench import {modules}\nimport sys\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "quietframe_bench" in loaded
    assert not loaded & {"quietframe_train", "quietframe_export", "keras", "tensorflow", "matplotlib", "bm3d"}

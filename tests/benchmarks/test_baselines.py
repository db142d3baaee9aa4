from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.images import Image, read_image, write_image
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.classical import METHODS, ClassicalDenoiser
from quietframe_bench.judging import QualityRow
from quietframe_bench.kinds.quality import QualitySettings, quality
from quietframe_bench.kinds.speed import ROUNDS, SpeedRow, SpeedSettings
from quietframe_bench.rows import p50_ms
from quietframe_bench.samples import find_images

HAS_BM3D = importlib.util.find_spec("bm3d") is not None
QUICK = SpeedSettings(sizes_wh=((64, 48),), threads=(1,), runs=ROUNDS, min_secs=0, warmup=0)
METHODS_HERE = ("bilateral", "median", "CBM3D")
ALL = QualitySettings("images", sigmas_255=(20.0, 40.0), seed=2, baselines=METHODS_HERE, speed=QUICK, every=2)


@pytest.fixture
def median():
    """With one method, which is quick."""
    return replace(ALL, sigmas_255=(20.0,), seed=0, baselines=("median",))


@pytest.fixture(scope="module")
def measured(lasting):
    """Everything that a comparison with all methods found."""
    blur_file, folder = lasting
    return quality(folder, [blur_file], ALL)


def by_name(results):
    """The rows of quality, by name and level."""
    return {(row.candidate, row.sigma_255): row for row in results if isinstance(row, QualityRow)}


def times(results):
    """The rows of times."""
    return [row for row in results if isinstance(row, SpeedRow)]


def test_models_and_filters_are_judged_on_the_same_frames(measured, lasting):
    blur_file, folder = lasting
    rows = by_name(measured)
    frames = []
    for index, path in enumerate(find_images(folder)):
        clean = read_image(path).pixels
        frames.append((clean, add_gaussian(clean, 40, np.random.default_rng([2, index, 40000]))))
    best = rows["bilateral, best setting", 40.0].setting
    expected = {
        "noisy input": lambda frame: frame,
        blur_file.name: Denoiser(blur_file),
        "median, textbook": ClassicalDenoiser("median", METHODS["median"].textbook, threads=1),
        "bilateral, best setting": ClassicalDenoiser("bilateral", best, threads=1),
    }
    for name, denoise in expected.items():
        reached = np.mean([psnr_db(clean, denoise(frame)) for clean, frame in frames])
        assert rows[name, 40.0].psnr_db == pytest.approx(reached)
        assert rows[name, 40.0].by_sample.keys() == {"a.png", "b.png", "c.png", "more/d.png"}


def test_the_best_setting_is_chosen_for_each_level_on_a_part_of_the_images(measured):
    choices = {(choice["method"], choice["sigma_255"]): choice for choice in measured[-1].details["choices"]}
    assert len(choices) == 4
    assert {choice["samples"] for choice in choices.values()} == {2}
    assert {len(choice["tried"]) for choice in choices.values()} == {48, 3}
    for (name, sigma_255), row in by_name(measured).items():
        if name.endswith("best setting"):
            tried = choices[row.method, sigma_255]["tried"]
            assert row.setting == tried[0][0]
            assert tried[0][1] >= tried[-1][1]


def test_everything_is_timed_once_by_the_same_watch(measured, lasting):
    blur_file, _ = lasting
    found = times(measured)
    names = [row.file for row in found]
    assert len(names) == len(set(names))
    medians = {(row.model and row.model.sha256, row.method, *row.setting.items()): row.p("total", 50) for row in found}
    assert len(medians) == len(found)
    for (name, _), row in by_name(measured).items():
        setting = {"sigma": 25.0} if row.method == "CBM3D" else row.setting
        timed = medians.get((row.model and row.model.sha256, row.method, *setting.items()))
        assert row.total_p50_ms == timed
        assert (timed is None) == (name == "noisy input")
    assert all(len(row.samples_ns.total) == ROUNDS for row in found if row.method != "CBM3D")
    (ours,) = [row for row in found if row.model]
    assert (ours.file, ours.macs) == (blur_file.name, 9 * 64 * 48)
    assert ours.gmacs_per_s == pytest.approx(9 * 64 * 48 / p50_ms(ours.samples_ns.engine) / 1e6)
    assert all(row.gmacs_per_s is None for row in found if row is not ours)


def test_the_page_names_everything_with_its_time_and_draws_it(measured):
    page = measured.to_html()
    for (name, _), row in by_name(measured).items():
        assert f">{name}<" in page
        if row.total_p50_ms:
            assert f">{row.total_p50_ms:.1f}<" in page
    assert 'alt="PSNR against time"' in page


def test_what_is_not_measured_says_what_it_takes(measured):
    notes = "\n".join(measured[-1].notes)
    assert ("CBM3D is not measured: pip install" in notes) != HAS_BM3D
    assert not measured.failures


@pytest.mark.skipif(not HAS_BM3D, reason="CBM3D needs the extra 'baselines'")
def test_cbm3d_knows_the_level_and_is_judged_on_a_part(measured):
    rows = by_name(measured)
    for sigma_255 in (20.0, 40.0):
        row = rows["CBM3D, level known", sigma_255]
        assert row.setting == {"sigma": sigma_255}
        assert list(row.by_sample) == list(rows["noisy input", sigma_255].by_sample)[::2]
    assert [row.setting for row in times(measured) if row.method == "CBM3D"] == [{"sigma": 25.0}]


def test_the_notes_say_what_favours_the_filters(measured):
    notes = " ".join(measured[-1].notes)
    assert "one in 2 images (2) of these same images" in notes
    assert "that favours the filters" in notes
    assert all(f"{name}: {METHODS[name].grid_text}" in notes for name in ("bilateral", "median"))


def test_gray_images_are_compared_as_gray_frames(tmp_path, blur_file):
    clean = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8) + 60
    write_image(tmp_path / "gray.png", Image(clean))
    settings = QualitySettings("images", sigmas_255=(25.0,), baselines=("NLM",), speed=QUICK)
    results = quality(tmp_path, [blur_file], settings)
    assert results[-1].details["gray"]
    assert "hColor" not in by_name(results)["NLM, best setting", 25.0].setting
    assert any("three equal channels" in note for note in results[-1].notes)


def test_what_fails_is_a_failed_row_and_the_others_go_on(blur_file, median, picture_folder, bad_file):
    (picture_folder / "broken.png").write_bytes(b"\x89PNG not really")
    results = quality(picture_folder, [bad_file, blur_file], median)
    rows = by_name(results)
    assert "not a LiteRT model" in rows["bad.tflite", 20.0].error
    assert rows[blur_file.name, 20.0].by_sample.keys() == {"a.png", "b.png", "c.png", "more/d.png"}
    assert {row.method or row.file for row in times(results)} == {blur_file.name, "median"}
    assert sum("broken.png" in failure for failure in results.failures) == 1
    assert sum("bad.tflite" in failure for failure in results.failures) == 1

"""Image quality on images and on video; pairs and the formats of cameras have files of their own."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from quietframe import Denoiser, estimate_noise
from quietframe.images import Image, read_image, write_image
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db, ssim
from quietframe_bench.kinds.quality import QualitySettings, quality
from quietframe_bench.quality_tables import int8_drops
from quietframe_bench.samples import find_images


def measure(kind, models, folder, *sigmas_255, **settings):
    """The rows of judging on what lies in a folder."""
    return quality(folder, models, QualitySettings(kind, sigmas_255=sigmas_255, **settings))


def write_video(folder, frames, side=48):
    """A pattern that moves two pixels a frame."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[0:side, 0 : side + 2 * frames]
    area = np.stack([x * 2, y * 4, 60 + x + y], axis=2).clip(0, 255).astype(np.uint8)
    for index in range(frames):
        cv2.imwrite(str(folder / f"{index:05}.png"), area[:, 2 * index : 2 * index + side])


@pytest.fixture
def videos(tmp_path):
    """Two sequences, of four and of three frames."""
    write_video(tmp_path / "videos" / "walk", 4)
    write_video(tmp_path / "videos" / "run", 3)
    return tmp_path / "videos"


@pytest.fixture(params=["images", "video"])
def judged(request, picture_folder, videos):
    """(a kind, a folder of that kind)"""
    return request.param, {"images": picture_folder, "video": videos}[request.param]


def test_the_same_seed_gives_the_same_figures(blur_file, judged):
    kind, folder = judged
    first, again, other = (measure(kind, [blur_file], folder, 25.0, seed=seed, limit=2) for seed in (0, 0, 1))
    assert [(row.by_sample, row.by_frame) for row in first] == [(row.by_sample, row.by_frame) for row in again]
    assert [row.by_sample for row in first] != [row.by_sample for row in other]
    assert [len(row.by_sample) for row in first] == [2, 2]
    assert [len(frames) for row in first for frames in row.by_frame.values()] == [2] * 4 * (kind == "video")


def test_models_that_fail_are_failed_rows(blur_file, classifier_file, judged, bad_file):
    kind, folder = judged
    rows = measure(kind, [bad_file, classifier_file, blur_file], folder, 25.0, limit=2)
    errors = {row.candidate: row.error for row in rows}
    assert "not a LiteRT model" in errors["bad.tflite"]
    assert "does classify, not denoise" in errors[classifier_file.name]
    assert errors[blur_file.name] is errors["noisy input"] is None


def test_figures_are_those_of_the_denoiser_on_seeded_noise(blur_file, picture_folder):
    rows = measure("images", [blur_file], picture_folder, 10.0, 25.0, seed=3)
    assert [(row.candidate, row.sigma_255) for row in rows] == [
        ("noisy input", 10),
        ("noisy input", 25),
        (blur_file.name, 10),
        (blur_file.name, 25),
    ]
    denoise = Denoiser(blur_file)
    expected = {"noisy": [], "psnr": [], "ssim": []}
    for index, path in enumerate(find_images(picture_folder)):
        clean = read_image(path).pixels
        noisy = add_gaussian(clean, 25, np.random.default_rng([3, index, 25000]))
        expected["noisy"].append(psnr_db(clean, noisy))
        expected["psnr"].append(psnr_db(clean, denoise(noisy)))
        expected["ssim"].append(ssim(clean, denoise(noisy)))
    assert len(expected["psnr"]) == 4
    assert rows[1].psnr_db == pytest.approx(np.mean(expected["noisy"]))
    assert rows[3].psnr_db == pytest.approx(np.mean(expected["psnr"]))
    assert rows[3].ssim == pytest.approx(np.mean(expected["ssim"]))
    # A 3×3 mean on smooth pictures: the noise falls to a third.
    assert 5 < rows[3].psnr_db - rows[1].psnr_db < 9.6


def test_gray_pictures_are_judged_as_gray_frames_through_a_colour_model(denoiser_file, blur_file, tmp_path):
    # Gray noise is one plane: the colour model sees it three times, and what it gives is brought back to one.
    clean = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8) + 60
    write_image(tmp_path / "gray.png", Image(clean))
    noisy, blurred, conditioned = measure("images", [blur_file, denoiser_file], tmp_path, 25.0)
    frame = add_gaussian(clean, 25, np.random.default_rng([0, 0, 25000]))
    assert frame.ndim == 2
    assert noisy.psnr_db == pytest.approx(psnr_db(clean, frame))
    assert noisy.estimated_sigma_255 == pytest.approx(estimate_noise(frame))
    for row, file in ((blurred, blur_file), (conditioned, denoiser_file)):
        result = Denoiser(file)(frame)
        assert result.shape == frame.shape
        assert row.psnr_db == pytest.approx(psnr_db(clean, result))
        assert row.ssim == pytest.approx(ssim(clean, result))


def test_pictures_that_fail_are_named_and_the_others_count(blur_file, picture_folder):
    (picture_folder / "broken.png").write_bytes(b"\x89PNG not really")
    rows = measure("images", [blur_file], picture_folder, 25.0)
    for row in rows:
        assert list(row.failed_samples) == ["broken.png"]
        assert len(row.by_sample) == 4


def test_int8_is_compared_with_fp32_of_the_same_name(make_model, picture_folder):
    exact = make_model("exact.fp32", dtype="float32")
    brighter = make_model("brighter.int8", dtype="uint8", offset_255=9)
    other = make_model("other.int8", dtype="uint8", card_changes={"name": "another"})
    rows = measure("images", [exact, brighter, other], picture_folder, 15.0, 25.0, limit=2)
    drops = int8_drops(rows)
    assert [(name, sigma_255, *files) for name, sigma_255, _, *files in drops] == [
        ("tiny-denoise", sigma_255, brighter.name, exact.name) for sigma_255 in (15, 25)
    ]
    by_name = {(row.candidate, row.sigma_255): row for row in rows}
    for _, sigma_255, drop_db, *files in drops:
        int8, fp32 = (by_name[name, sigma_255].psnr_db for name in files)
        assert drop_db == pytest.approx(int8 - fp32)
        assert drop_db < -0.3


def test_figures_of_videos_are_those_of_the_denoiser_on_seeded_noise(blur_file, videos):
    rows = measure("video", [blur_file], videos, 10.0, 25.0, seed=3)
    assert [(row.candidate, row.sigma_255) for row in rows] == [
        ("noisy input", 10),
        ("noisy input", 25),
        (blur_file.name, 10),
        (blur_file.name, 25),
    ]
    denoise = Denoiser(blur_file)
    for number, name in enumerate(["run", "walk"]):  # sorted by name
        errors, expected = [], []
        for index, path in enumerate(sorted((videos / name).iterdir())):
            clean = read_image(path).pixels
            noisy = add_gaussian(clean, 25, np.random.default_rng([3, number, index, 25000]))
            result = denoise(noisy)
            expected.append(psnr_db(clean, result))
            errors.append(result.astype(float) - clean)
            assert rows[1].by_frame[name][path.name]["estimated_sigma_255"] == pytest.approx(estimate_noise(noisy))
        flicker = [np.abs(b - a).mean() for a, b in pairwise(errors)]
        figures = list(rows[3].by_frame[name].values())
        assert [frame["psnr_db"] for frame in figures] == pytest.approx(expected)
        assert "flicker_255" not in figures[0], "nothing lies before the first frame"
        assert [frame["flicker_255"] for frame in figures[1:]] == pytest.approx(flicker)
        assert rows[3].by_sample[name]["psnr_db"] == pytest.approx(np.mean(expected))
        assert rows[3].by_sample[name]["flicker_255"] == pytest.approx(np.mean(flicker))
    for figure in ("psnr_db", "flicker_255"):  # each sequence counts alike
        of_both = [rows[3].by_sample[name][figure] for name in ("run", "walk")]
        assert getattr(rows[3], figure) == pytest.approx(sum(of_both) / 2)


def test_a_blur_takes_noise_and_flicker_away(blur_file, videos):
    noisy, blurred = measure("video", [blur_file], videos, 25.0)
    assert noisy.flicker_255 == pytest.approx(25 * 2 / np.sqrt(np.pi), rel=0.1)
    # The noise of each frame falls to a third, and with it what changes.
    assert blurred.flicker_255 == pytest.approx(noisy.flicker_255 / 3, rel=0.1)
    assert 5 < blurred.psnr_db - noisy.psnr_db < 9.6


def test_the_level_is_estimated_for_each_frame_and_not_model(denoiser_file, tmp_path):
    # This model adds the level that it is model: on flat frames the mean error tells what that was.
    for index in range(2):
        (tmp_path / "flat").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "flat" / f"{index}.png"), np.full((64, 64, 3), 100, np.uint8))
    noisy, model = measure("video", [denoiser_file], tmp_path / "flat", 20.0)
    for name in model.by_frame["flat"]:
        level = noisy.by_frame["flat"][name]["estimated_sigma_255"]
        noisy_mse, mse = (255**2 / 10 ** (row.by_frame["flat"][name]["psnr_db"] / 10) for row in (noisy, model))
        assert level != 20
        assert mse == pytest.approx(noisy_mse + level**2, rel=0.1)


def test_a_sequence_that_fails_on_the_way_is_named_and_the_others_count(blur_file, videos):
    (videos / "walk" / "00002.png").write_bytes(b"\x89PNG not really")
    cv2.imwrite(str(videos / "run" / "00009.png"), np.zeros((50, 50, 3), np.uint8))
    write_video(videos / "stand", 2)
    for row in measure("video", [blur_file], videos, 25.0):
        assert list(row.by_frame) == ["stand"]
        assert row.failed_samples.keys() == {"run", "walk"}
        assert row.failed_samples["walk"].startswith("00002.png: ")
        assert str(videos) not in row.failed_samples["walk"]
        assert row.failed_samples["run"].startswith("00009.png: Expected frames of one shape")
        assert len(row.by_frame) == 1

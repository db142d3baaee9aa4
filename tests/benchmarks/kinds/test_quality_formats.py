"""Image quality over the formats of cameras."""

from __future__ import annotations

import csv
import json
import zlib

import cv2
import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.assets import photo_bgr
from quietframe.errors import UsageError
from quietframe.images import read_image
from quietframe.noise import add_gaussian
from quietframe.noise.estimate import estimate_noise
from quietframe.quality import psnr_db, ssim
from quietframe_bench.classical import METHODS
from quietframe_bench.kinds.quality import QualitySettings, quality

NAMES = ("a.png", "b.png", "c.png", "more/d.png")


def measure_formats(folder, models, **settings):
    """The rows of judging on images in formats, format by format at each level."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    rows = quality(folder, models, QualitySettings("images", "formats", **given))
    return sorted(rows, key=lambda row: [row.condition for row in rows].index(row.condition))


def rng(name: str, index: int, sigma_255: float, seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, index, round(sigma_255 * 1000), zlib.crc32(name.encode())])


def jpeg_80_420(frame: np.ndarray) -> np.ndarray:
    options = [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    return cv2.imdecode(cv2.imencode(".jpg", frame, options)[1], cv2.IMREAD_COLOR)


def noisy_jpegs(folder, sigma_255, seed=0, names=NAMES) -> list[tuple[np.ndarray, np.ndarray]]:
    """(clean, as delivered) for each image of the folder."""
    pairs = []
    for index, name in enumerate(names):
        clean = read_image(folder / name).pixels
        pairs.append((clean, jpeg_80_420(add_gaussian(clean, sigma_255, rng("jpeg-80-420", index, sigma_255, seed)))))
    return pairs


def test_rows_are_those_of_frames_encoded_and_denoised_by_hand(blur_file, picture_folder):
    rows = measure_formats(
        picture_folder, [blur_file], formats=["rgb", "jpeg-80-420"], sigmas_255=[25.0], baselines=[], seed=3
    )
    assert [(row.format, row.candidate, row.sigma_255) for row in rows] == [
        ("rgb", "noisy input", 25),
        ("rgb", blur_file.name, 25),
        ("jpeg-80-420", "noisy input", 25),
        ("jpeg-80-420", blur_file.name, 25),
    ]
    noisy, blurred = rows[2:]
    pairs = noisy_jpegs(picture_folder, 25, seed=3)
    denoise = Denoiser(blur_file)
    results = [(clean, frame, denoise(frame)) for clean, frame in pairs]
    assert list(blurred.by_sample) == list(NAMES)
    assert noisy.psnr_db == pytest.approx(np.mean([psnr_db(*pair) for pair in pairs]))
    assert noisy.estimated_sigma_255 == pytest.approx(np.mean([estimate_noise(frame) for _, frame in pairs]))
    assert blurred.psnr_db == pytest.approx(np.mean([psnr_db(clean, out) for clean, _, out in results]))
    assert blurred.ssim == pytest.approx(np.mean([ssim(clean, out) for clean, _, out in results]))
    assert blurred.psnr_to_input_db == pytest.approx(np.mean([psnr_db(frame, out) for _, frame, out in results]))
    assert blurred.gain_db == pytest.approx(blurred.psnr_db - noisy.psnr_db)
    assert blurred.lead_db is None
    assert noisy.gain_db is None


def test_the_bilateral_filter_is_at_its_best_over_the_set(blur_file, tmp_path):
    for name, left in (("a.png", 180), ("b.png", 240)):
        cv2.imwrite(str(tmp_path / name), photo_bgr()[60:140, left : left + 80])
    rows = measure_formats(
        tmp_path, [blur_file], formats=["jpeg-80-420"], sigmas_255=[5.0, 40.0], baselines=["bilateral"]
    )
    settings = []
    for noisy, model, bilateral in (rows[:3], rows[3:]):
        pairs = noisy_jpegs(tmp_path, noisy.sigma_255, names=("a.png", "b.png"))
        reached = [
            np.mean([psnr_db(clean, METHODS["bilateral"].frame(frame, setting, 1)) for clean, frame in pairs])
            for setting in METHODS["bilateral"].settings(gray=False)
        ]
        assert bilateral.psnr_db == pytest.approx(max(reached))
        assert bilateral.lead_db is None
        assert model.lead_db == pytest.approx(model.psnr_db - max(reached))
        settings.append(bilateral.setting)
    assert settings[0]["sigmaColor"] < settings[1]["sigmaColor"]


def test_nlm_is_tried_about_the_noise_level(blur_file, tmp_path):
    for sigma_255, heights in ((10, {3, 5, 7, 10}), (25, {7, 10, 14, 20, 28})):
        tried = METHODS["NLM"].settings(gray=False, near_255=sigma_255)
        assert {setting["h"] for setting in tried} == heights
        assert len(tried) == 2 * len(heights)
    assert METHODS["NLM"].settings(gray=False, near_255=0.5)
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((48, 48, 3), 90, np.uint8))
    rows = measure_formats(tmp_path, [blur_file], formats=["rgb"], sigmas_255=[10.0], baselines=["NLM"])
    assert rows[-1].setting["h"] == 10  # nothing but noise: the strongest


def test_clean_frames_say_what_the_format_and_the_model_lost(blur_file, picture_folder):
    rows = measure_formats(picture_folder, [blur_file], formats=["rgb", "jpeg-80-420", "h264-20"], sigmas_255=[0.0])
    assert [row.candidate for row in rows] == ["noisy input", blur_file.name] * 3  # no baselines
    assert rows[0].psnr_db == 100
    assert rows[1].psnr_db == pytest.approx(rows[1].psnr_to_input_db)
    lost = [
        psnr_db(clean, jpeg_80_420(clean)) for clean in (read_image(picture_folder / name).pixels for name in NAMES)
    ]
    assert rows[2].psnr_db == pytest.approx(np.mean(lost))
    assert rows[3].gain_db == pytest.approx(rows[3].psnr_db - np.mean(lost))
    assert 30 < rows[4].psnr_db < 60


def test_frames_are_cut_at_the_top_left_before_they_are_encoded(blur_file, picture_folder, tmp_path):
    for name in NAMES:
        (tmp_path / "cut" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "cut" / name), cv2.imread(str(picture_folder / name))[3:, 5:])
    settings = {"formats": ["h264-28"], "sigmas_255": [25.0], "baselines": [], "limit": 2}
    cropped = measure_formats(picture_folder, [blur_file], **settings, crop=(3, 5))
    by_hand = measure_formats(tmp_path / "cut", [blur_file], **settings)
    whole = measure_formats(picture_folder, [blur_file], **settings)
    assert [row.by_sample for row in cropped] == [row.by_sample for row in by_hand]
    assert cropped[1].by_sample != whole[1].by_sample
    with pytest.raises(UsageError, match=r"a\.png: 48×10 pixels to judge"):
        measure_formats(picture_folder, [blur_file], crop=(30, 0))


def test_every_second_image_has_the_noise_that_it_has_among_all(blur_file, picture_folder):
    settings = {"formats": ["rgb"], "sigmas_255": [25.0], "baselines": []}
    every = measure_formats(picture_folder, [blur_file], **settings)
    second = measure_formats(picture_folder, [blur_file], **settings, every=2)
    assert list(second[1].by_sample) == ["a.png", "c.png"]
    assert second[1].by_sample.items() <= every[1].by_sample.items()


def test_gray_images_are_three_equal_planes(blur_file, tmp_path):
    clean = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8) + 60
    cv2.imwrite(str(tmp_path / "gray.png"), clean)
    noisy, _ = measure_formats(tmp_path, [blur_file], formats=["rgb"], sigmas_255=[25.0], baselines=[])
    frame = add_gaussian(cv2.merge([clean] * 3), 25, rng("rgb", 0, 25))
    assert noisy.psnr_db == pytest.approx(psnr_db(cv2.merge([clean] * 3), frame))


def test_a_model_that_does_not_open_is_a_failed_row_and_two_files_of_one_name_stay_apart(
    blur_file, picture_folder, tmp_path, bad_file
):
    other = tmp_path / "other" / blur_file.name
    other.parent.mkdir()
    other.write_bytes(blur_file.read_bytes())
    settings = {"formats": ["rgb"], "sigmas_255": [25.0], "baselines": [], "limit": 1}
    rows = measure_formats(picture_folder, [bad_file, blur_file, other], **settings)
    assert [row.candidate for row in rows] == ["noisy input", "bad.tflite", str(blur_file), str(other)]
    assert [row.error is None for row in rows] == [True, False, True, True]
    assert rows[2].by_sample == rows[3].by_sample


def test_the_command_prints_tables_and_writes_them(bench, blur_file, picture_folder, tmp_path):
    files = {name: tmp_path / f"rows.{name}" for name in ("out", "csv", "markdown")}
    formats = ["--format", "rgb,yuyv-422", "--format", "jpeg-60-420"]
    arguments = ["quality", picture_folder, blur_file, "--noise", "formats", *formats]
    written = [part for name, path in files.items() for part in (f"--{name}", path)]
    code, out, _ = bench(*arguments, "--baselines", "bilateral", "--crop", 3, 5, *written)
    assert code == 0
    assert out.count("jpeg-60-420 ") >= 5  # clean; PSNR and SSIM at σ 10 and 25
    lines = [json.loads(line) for line in files["out"].read_text().splitlines()]
    assert sorted(line["sigma_255"] for line in lines) == [0] * 6 + [10] * 9 + [25] * 9
    assert lines[0]["settings"] | {"folder": "pictures", "crop": [3, 5]} == lines[0]["settings"]
    at_25 = {(line["format"], line["candidate"]): line for line in lines if line["sigma_255"] == 25}
    blurred = [at_25[name, blur_file.name] for name in ("rgb", "yuyv-422", "jpeg-60-420")]
    lead_db = np.mean([line["lead_db"] for line in blurred[:2]])  # jpeg-60-420 is left out
    markdown = files["markdown"].read_text()
    sign = "+" if blurred[0]["lead_db"] > 0 else "-"
    assert f"{blurred[0]['psnr_db']:.2f} ({sign}{abs(blurred[0]['lead_db']):.2f})" in markdown
    (mean,) = [line for line in markdown.splitlines() if line.startswith("| mean") and f"{abs(lead_db):.2f})" in line]
    assert f"{np.mean([line['psnr_db'] for line in blurred[:2]]):.2f}" in mean
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert len(rows) == len(lines)
    (row,) = [
        row
        for row in rows
        if (row["candidate"], row["format"], row["sigma_255"]) == (blur_file.name, "jpeg-60-420", "25.0")
    ]
    assert float(row["lead_db"]) == pytest.approx(blurred[2]["lead_db"])
    assert bench("report", files["out"])[1] == out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--format", "rgb,mpeg"), "Unknown format 'mpeg'"),
        (("--baselines", "median"), "Unknown baseline 'median'"),
        (("--crop", "3", "-5"), "-5"),
        (("--as", "pairs"), "--noise formats needs a folder of images or videos"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(bench, blur_file, picture_folder, args, says):
    code, out, err = bench("quality", picture_folder, blur_file, "--noise", "formats", *args)
    assert code == 2
    assert out == ""
    assert says in err
    assert len(err.strip().splitlines()) == 1

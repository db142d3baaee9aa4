"""Image quality on video: formats, videos held still, ghosts, skipped frames and other methods."""

from __future__ import annotations

import csv
import shutil
import zlib
from itertools import pairwise

import cv2
import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.assets import photo_bgr
from quietframe.images import read_image
from quietframe.noise import add_gaussian
from quietframe.noise.formats import FORMATS
from quietframe.quality import flicker_255, ghost_255, just_uncovered, psnr_db, ssim
from quietframe_bench import judging
from quietframe_bench.classical import CLIP_METHODS, ClassicalDenoiser, missing_filters
from quietframe_bench.kinds.quality import QualitySettings, quality
from quietframe_bench.kinds.quality import tables as tables_of
from quietframe_bench.results import read_results
from quietframe_bench.samples import find_videos

SIZE = (64, 96)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A square that moves over a scene, eight frames, and a scene that turns, six."""
    folder = tmp_path_factory.mktemp("videos")
    square = cv2.resize(np.random.default_rng(5).integers(0, 256, (6, 6, 3), np.uint8), (24, 24))
    for name, frames in (("square", 8), ("turn", 6)):
        (folder / name).mkdir()
        for index in range(frames):
            left = 180 + (2 * index if name == "turn" else 0)
            frame = photo_bgr()[60 : 60 + SIZE[0], left : left + SIZE[1]].copy()
            if name == "square":
                frame[20:44, 16 + 5 * index : 40 + 5 * index] = square
            cv2.imwrite(str(folder / name / f"{index:05}.png"), frame)
    return folder


def measure(folder, models, *, noise="white", **settings):
    """Rows of quality by what was judged and its motion, at one level and in one format."""
    results = quality(folder, models, QualitySettings("video", noise, **settings))
    return {(row.candidate, row.motion): row for row in results if row.kind == "quality"}


def clean_frames(folder, name):
    return [read_image(path).pixels for path in sorted((folder / name).iterdir())]


def noisy_frames(clean, number, sigma_255, form=None):
    """The frames with the noise of a video's number, as a format delivers them."""
    crc = [zlib.crc32(form.encode())] if form else []
    noisy = [
        add_gaussian(frame, sigma_255, np.random.default_rng([0, number, index, round(sigma_255 * 1000), *crc]))
        for index, frame in enumerate(clean)
    ]
    return FORMATS[form].deliver_clip(noisy) if form else noisy


@pytest.mark.parametrize("form", ["h264-28", "jpeg-80-420"])
def test_a_video_is_delivered_as_a_clip(blur_file, videos, form):
    settings = {"noise": "formats", "formats": (form,), "sigmas_255": (20.0,)}
    rows = measure(videos, [blur_file], **settings, still=True)
    assert list(rows) == [(name, motion) for name in ("noisy input", blur_file.name) for motion in ("moving", "still")]
    assert {row.format for row in rows.values()} == {form}
    denoise = Denoiser(blur_file)
    for number, name in enumerate(("square", "turn")):
        moving = clean_frames(videos, name)
        for motion, clean in (("moving", moving), ("still", [moving[0]] * len(moving))):
            noisy = noisy_frames(clean, number, 20, form)
            results = [denoise(frame) for frame in noisy]
            row = rows[blur_file.name, motion].by_sample[name]
            pairs = list(zip(clean, results, strict=True))
            assert row["psnr_db"] == pytest.approx(np.mean([psnr_db(*pair) for pair in pairs]))
            assert row["ssim"] == pytest.approx(np.mean([ssim(*pair) for pair in pairs]))
            shown = rows["noisy input", motion].by_sample[name]
            assert shown["psnr_db"] == pytest.approx(np.mean(list(map(psnr_db, clean, noisy))))
            assert len(rows[blur_file.name, motion].by_frame[name]) == len(clean)


def test_clean_video_shows_what_the_format_loses(blur_file, videos):
    rows = measure(videos, [blur_file], noise="formats", formats=("h264-20",), sigmas_255=(0.0,))
    clean = clean_frames(videos, "square")
    delivered = FORMATS["h264-20"].deliver_clip(clean)
    reached = rows["noisy input", "moving"].by_sample["square"]["psnr_db"]
    assert reached == pytest.approx(np.mean(list(map(psnr_db, clean, delivered))))


def test_frames_of_formats_are_cut_at_the_top_left(blur_file, videos):
    settings = {"noise": "formats", "formats": ("rgb",), "sigmas_255": (0.0,)}
    (row, _) = measure(videos, [blur_file], **settings, crop=(3, 5)).values()
    assert row.by_sample["turn"]["psnr_db"] == 100
    sample = find_videos(videos, crop=(3, 5))[0]
    clip = judging._clip(sample, judging.Condition(0.0, "rgb", "moving"))
    assert clip.clean[0].shape == (SIZE[0] - 3, SIZE[1] - 5, 3)


def test_ghosts_are_counted_where_the_clean_video_was_just_uncovered(blur_file, videos):
    rows = measure(videos, [blur_file], sigmas_255=(20.0,), still=True)
    clean = clean_frames(videos, "square")
    noisy = noisy_frames(clean, 0, 20)
    masks = list(just_uncovered(clean))
    denoise = Denoiser(blur_file)
    ghosts = {"noisy input": noisy, blur_file.name: [denoise(frame) for frame in noisy]}
    for name, results in ghosts.items():
        expected = ghost_255(zip(clean, results, masks, strict=True))
        assert rows[name, "moving"].by_sample["square"]["ghost_255"] == pytest.approx(expected)
        assert rows[name, "still"].ghost_255 is None
    # The mean of two frames has less noise, and ghosts.
    mean = [noisy[0], *(cv2.addWeighted(a, 0.5, b, 0.5, 0) for a, b in pairwise(noisy))]
    averaged = ghost_255(zip(clean, mean, masks, strict=True))
    assert averaged > rows["noisy input", "moving"].by_sample["square"]["ghost_255"]


def test_skipped_frames_are_shown_and_not_counted(blur_file, videos):
    (noisy, blurred) = measure(videos, [blur_file], sigmas_255=(20.0,), skip=3).values()
    (all_noisy, all_blurred) = measure(videos, [blur_file], sigmas_255=(20.0,)).values()
    for row, whole in ((noisy, all_noisy), (blurred, all_blurred)):
        for name, frames in row.by_frame.items():
            assert list(frames) == list(whole.by_frame[name])[3:]
            first, *others = frames.items()
            assert "flicker_255" not in first[1]
            assert first[1]["psnr_db"] == whole.by_frame[name][first[0]]["psnr_db"]
            assert all(of == whole.by_frame[name][file] for file, of in others)
    clean = clean_frames(videos, "square")
    frames = zip(clean, noisy_frames(clean, 0, 20), just_uncovered(clean), strict=True)
    assert noisy.by_sample["square"]["ghost_255"] == pytest.approx(ghost_255(list(frames)[3:]))


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the program ffmpeg is not installed")
def test_a_method_of_clips_sees_the_skipped_frames_and_gets_the_best_setting(blur_file, videos):
    results = quality(videos, [blur_file], QualitySettings(
        "video", sigmas_255=(20.0,), baselines=("atadenoise", "bilateral"), skip=2, still=True, every=2
    ))  # fmt: skip
    rows = {(row.candidate, row.motion): row for row in results if row.kind == "quality"}
    assert list(rows)[4:] == [(name, motion) for name in ("atadenoise", "bilateral") for motion in ("moving", "still")]
    choices = {choice["method"]: choice for choice in results[-1].details["choices"]}
    assert len(choices["atadenoise"]["tried"]) == len(CLIP_METHODS["atadenoise"].grid)
    assert choices["atadenoise"]["samples"] == 1
    best = choices["atadenoise"]["tried"][0][0]
    for motion in ("moving", "still"):
        row = rows["atadenoise", motion]
        assert row.setting == best
        moving = clean_frames(videos, "square")
        clean = moving if motion == "moving" else [moving[0]] * 8
        denoised = list(ClassicalDenoiser("atadenoise", best, threads=1).denoise(noisy_frames(clean, 0, 20)))
        assert row.by_sample["square"]["psnr_db"] == pytest.approx(np.mean(list(map(psnr_db, clean, denoised))[2:]))
        pairs = list(zip(clean, denoised, strict=True))[2:]
        flicker = [flicker_255(*two) for two in pairwise(pairs)]
        assert row.by_sample["square"]["flicker_255"] == pytest.approx(np.mean(flicker))
    assert rows["atadenoise", "still"].psnr_db > rows["atadenoise", "moving"].psnr_db
    notes = " ".join(results[-1].notes)
    assert "first 6 frames that count of these same videos, with the level known: square. That favours them" in notes
    assert "still to come" in notes


@pytest.mark.long
def test_all_methods_that_there_are_are_judged_and_timed(blur_file, videos):
    rows = measure(videos / "turn", [blur_file], sigmas_255=(20.0,), baselines=("all",), limit=4)
    offered = [name for name in CLIP_METHODS if name not in missing_filters()]
    assert [name for name, _ in rows] == ["noisy input", blur_file.name, "bilateral", "NLM", *offered]
    assert not [failure for row in rows.values() for failure in row.failures()]
    for (name, _), row in rows.items():
        assert (row.total_p50_ms is None) == (name == "noisy input")
        if name != "noisy input":
            assert row.total_p50_ms == row.ms_by_sample["turn"] > 0


def test_a_filter_that_is_missing_is_said(bench, blur_file, videos, monkeypatch):
    monkeypatch.setattr("quietframe_bench.classical._FFMPEG", "no-such-ffmpeg")
    code, _, err = bench("quality", videos, blur_file, "--baselines", "bilateral,fftdnoiz")
    assert code == 2
    assert "fftdnoiz: the program ffmpeg is not installed, or lacks this filter" in err


def test_a_method_that_loses_frames_is_a_failed_sample(videos, monkeypatch):
    (square, _) = find_videos(videos)
    monkeypatch.setattr(judging, "_denoised", lambda noisy, *_: iter(noisy[:5]))
    what = {"condition": (20.0, None, "moving"), "given_sigma_255": None, "cache": None}
    sample = {"name": "square", "seed": square.seed, "clean": list(map(str, square.clean))}
    with pytest.raises(judging.QuietFrameError, match=r"00005\.png: Expected 8 frames from fftdnoiz\. Received: 5"):
        judging.judge(model=None, method="fftdnoiz", setting={}, sample=sample, **what)


def test_the_command_shows_motion_and_ghosts(bench, blur_file, videos, tmp_path):
    files = {name: tmp_path / f"rows.{name}" for name in ("out", "csv", "markdown", "html")}
    written = [part for name, path in files.items() for part in (f"--{name}", path)]
    arguments = ("--noise", "formats", "--format", "rgb,h264-28", "--sigma", "20", "--still", "--skip", "2")
    code, out, _ = bench("quality", videos, blur_file, *arguments, "--baselines", "bilateral", *written)
    assert code == 0
    for words in ("rgb, moving: ", "rgb, still: ", "h264-28, moving: ", "h264-28, still: "):
        assert out.count(words) == 1
        assert words in files["markdown"].read_text()
        assert words in files["html"].read_text()
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    quality_rows = [row for row in rows if row["candidate"]]
    assert len(quality_rows) == 12
    for row in read_results(files["out"])[:12]:  # by video: every frame that counts is written, its mean is printed
        for name, frames in row.by_frame.items():
            assert list(frames) == [f"{index:05}.png" for index in range(2, 8 if name == "square" else 6)]
            assert f"{row.by_sample[name]['flicker_255']:.2f}" in out
        assert row.estimated_sigma_255 is None or row.is_noisy_input
    assert {(row["motion"], row["ghost_255"] != "") for row in quality_rows} == {("moving", True), ("still", False)}
    ghosts = [f"{float(row['ghost_255']):.2f}" for row in quality_rows if row["ghost_255"]]
    assert all(ghost in out for ghost in ghosts)
    assert bench("report", files["out"])[1] == out


def test_without_formats_and_still_there_is_one_table(blur_file, videos):
    results = quality(videos, [blur_file], QualitySettings("video", sigmas_255=(20.0,)))
    first, *_, by_video = tables_of(list(results))
    assert first.title.startswith("frame by frame")
    assert "delivered" not in [column.head for column in by_video.columns]

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from quietframe import Denoiser, estimate_noise
from quietframe.errors import SourceError, UsageError
from quietframe.images import read_image
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.kinds.video import VideoSettings, find_sequences, is_video_folder, measure_video


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


def test_figures_are_those_of_the_denoiser_on_seeded_noise(blur_file, videos):
    rows = measure_video([blur_file], VideoSettings(videos, sigmas_255=(10.0, 25.0), seed=3))
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
            assert rows[1].by_sequence[name][path.name]["estimated_sigma_255"] == pytest.approx(estimate_noise(noisy))
        flicker = [np.abs(b - a).mean() for a, b in pairwise(errors)]
        figures = list(rows[3].by_sequence[name].values())
        assert [frame["psnr_db"] for frame in figures] == pytest.approx(expected)
        assert "flicker_255" not in figures[0], "nothing lies before the first frame"
        assert [frame["flicker_255"] for frame in figures[1:]] == pytest.approx(flicker)
        assert rows[3].of_sequence(name, "psnr_db") == pytest.approx(np.mean(expected))
        assert rows[3].of_sequence(name, "flicker_255") == pytest.approx(np.mean(flicker))


def test_each_sequence_counts_alike_in_the_mean(blur_file, videos):
    for row in measure_video([blur_file], VideoSettings(videos, (25.0,))):
        for figure in ("psnr_db", "flicker_255"):
            of_both = [row.of_sequence(name, figure) for name in ("run", "walk")]
            assert getattr(row, figure) == pytest.approx(sum(of_both) / 2)


def test_a_blur_takes_noise_and_flicker_away(blur_file, videos):
    noisy, blurred = measure_video([blur_file], VideoSettings(videos, (25.0,)))
    assert noisy.flicker_255 == pytest.approx(25 * 2 / np.sqrt(np.pi), rel=0.1)
    # The noise of each frame falls to a third, and with it what changes.
    assert blurred.flicker_255 == pytest.approx(noisy.flicker_255 / 3, rel=0.1)
    assert 5 < blurred.psnr_db - noisy.psnr_db < 9.6


def test_the_level_is_estimated_for_each_frame_and_not_model(denoiser_file, tmp_path):
    # This model adds the level that it is model: on flat frames the mean error tells what that was.
    for index in range(2):
        (tmp_path / "flat").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "flat" / f"{index}.png"), np.full((64, 64, 3), 100, np.uint8))
    noisy, model = measure_video([denoiser_file], VideoSettings(tmp_path / "flat", (20.0,)))
    for name in model.by_sequence["flat"]:
        level = noisy.by_sequence["flat"][name]["estimated_sigma_255"]
        noisy_mse, mse = (255**2 / 10 ** (row.by_sequence["flat"][name]["psnr_db"] / 10) for row in (noisy, model))
        assert level != 20
        assert mse == pytest.approx(noisy_mse + level**2, rel=0.1)


def test_the_same_seed_gives_the_same_figures(blur_file, videos):
    first, again, other = (measure_video([blur_file], VideoSettings(videos, (25.0,), seed, 2)) for seed in (0, 0, 1))
    assert [row.by_sequence for row in first] == [row.by_sequence for row in again]
    assert [row.by_sequence for row in first] != [row.by_sequence for row in other]
    assert [len(frames) for row in first for frames in row.by_sequence.values()] == [2] * 4


def test_a_sequence_that_fails_on_the_way_is_named_and_the_others_count(blur_file, videos):
    (videos / "walk" / "00002.png").write_bytes(b"\x89PNG not really")
    cv2.imwrite(str(videos / "run" / "00009.png"), np.zeros((50, 50, 3), np.uint8))
    write_video(videos / "stand", 2)
    for row in measure_video([blur_file], VideoSettings(videos, (25.0,))):
        assert list(row.by_sequence) == ["stand"]
        assert row.failed_sequences.keys() == {"run", "walk"}
        assert row.failed_sequences["walk"].startswith("00002.png: ")
        assert str(videos) not in row.failed_sequences["walk"]
        assert row.failed_sequences["run"].startswith("00009.png: Expected two images of one shape")
        assert len(row.by_sequence) == 1


def test_models_that_fail_are_failed_rows(blur_file, classifier_file, videos, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    rows = measure_video([bad, classifier_file, blur_file], VideoSettings(videos, (25.0,), limit=2))
    errors = {row.candidate: row.error for row in rows}
    assert "not a LiteRT model" in errors["bad.tflite"]
    assert "does classify, not denoise" in errors[classifier_file.name]
    assert errors[blur_file.name] is errors["noisy input"] is None


def test_a_folder_is_one_sequence_or_holds_them(videos):
    assert {name: [frame.name for frame in frames] for name, frames in find_sequences(videos).items()} == {
        "run": ["00000.png", "00001.png", "00002.png"],
        "walk": ["00000.png", "00001.png", "00002.png", "00003.png"],
    }
    assert {name: len(frames) for name, frames in find_sequences(videos, 3).items()} == {"run": 3, "walk": 3}
    assert {name: len(frames) for name, frames in find_sequences(videos / "walk").items()} == {"walk": 4}
    (videos / "notes").mkdir()
    (videos / "notes" / "notes.txt").write_text("no frame")
    (videos / ".cache").mkdir()
    (videos / ".cache" / "a.png").write_bytes(b"")
    assert list(find_sequences(videos)) == ["run", "walk"]


def test_what_holds_no_video_is_an_error(videos, tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        find_sequences(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="no frames in it or in its sub-folders"):
        find_sequences(tmp_path)
    with pytest.raises(UsageError, match=r"2 frames or more to be judged\. Received: a limit of 1"):
        find_sequences(videos, 1)
    write_video(videos / "still", 1)
    with pytest.raises(SourceError, match="a video needs 2 frames or more to be judged: still has 1"):
        find_sequences(videos)
    cv2.imwrite(str(videos / "cover.png"), np.zeros((8, 8), np.uint8))
    with pytest.raises(SourceError, match=r"holds frames and sequences of frames \(run, still, walk\)"):
        find_sequences(videos)


def test_videos_differ_from_images_by_numbered_frames_in_sub_folders(videos, picture_folder):
    assert is_video_folder(videos)
    assert not is_video_folder(videos / "walk")  # one sequence: say so with --as video
    assert not is_video_folder(picture_folder)

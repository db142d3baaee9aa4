"""Clips for video denoisers: what is drawn, and a training on them."""

from dataclasses import replace

import numpy as np
import pytest

from quietframe.errors import SourceError
from quietframe.noise.formats import Format
from quietframe_train import train
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.clips import ClipNoise
from quietframe_train.data.clips import ClipData
from quietframe_train.data.photos import PhotoBatches
from quietframe_train.recipe import ModelConfig
from quietframe_train.recipes import RECIPES

RGB = CameraNoise(rgb_share=1, yuyv_share=0, h264_share=0, sensor_share=0, clean_share=0, gray_share=0, level_power=0.1)
STILL = ClipNoise(camera=RGB, still_share=1, object_share=0, light_share=0, cut_share=0)
TINY = ModelConfig("camera_unet", {"widths": (8, 8), "encoder_convs": (1, 1), "decoder_convs": (1,), "last_kernel": 1})


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(0)
    return [np.kron(rng.integers(0, 256, (32, 34, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(3)]


def test_a_clip_is_the_same_at_every_draw_and_another_at_every_step(photos):
    batches = PhotoBatches(ClipData(frames=3), photos, ClipNoise(), batch=2, steps=5, seed=(1,))
    one, again, other = batches.draw(0, 1), batches.draw(0, 1), batches.draw(0, 2)
    for name, values in one[0].items():
        assert np.array_equal(values, again[0][name]), name
    assert not np.array_equal(one[0]["image"], other[0]["image"])
    shapes = {name: values.shape for name, values in one[0].items()}
    assert shapes == {
        "image": (2, 192, 64, 3),
        "flow": (2, 192, 64, 2),
        "state": (2, 64, 64, 3),
        "confidence": (2, 32, 32, 1),
        "sigma": (2, 16, 16, 1),
    }
    assert one[1].shape == (2, 192, 64, 3)


def test_a_still_camera_sees_one_scene_and_noise_of_its_own_in_every_frame(photos):
    clips = STILL.draw(photos, 8, 4, 64, np.random.default_rng(2))
    assert (clips.clean == clips.clean[:, :1]).all()
    assert not (clips.noisy[:, 0] == clips.noisy[:, 1]).all(axis=(1, 2, 3)).any()
    assert np.mean(np.abs(clips.flow).max(axis=-1) > 0.1) < 0.02


def test_the_past_has_the_noise_that_its_confidence_says(photos):
    noise = replace(STILL, camera=replace(RGB, max_sigma_255=20, level_power=0.01, overlay_share=0))
    gray = [np.full((300, 300, 3), 128, np.uint8)]
    clips = noise.draw(gray, 60, 2, 64, np.random.default_rng(3))
    for state, confidence in zip(clips.state, clips.confidence, strict=True):
        if 0 < confidence < 0.95:
            v = 1 / confidence - 1  # of a mean of 1 / v frames
            assert np.std(state - 128) == pytest.approx(20 * v**0.5, rel=0.05)
    assert {0.0, 0.5}.issubset(set(np.round(clips.confidence, 2).tolist()))


def test_a_scene_that_moves_is_followed_by_its_flow(photos):
    moving = replace(STILL, still_share=0, align_share=1)
    flow = moving.draw(photos, 40, 4, 64, np.random.default_rng(4)).flow
    assert not flow[:, 0].any(), "before the first frame nothing moved"
    assert np.mean(np.abs(flow[:, 1:]).max(axis=(1, 2, 3, 4)) > 0.5) > 0.5


@pytest.mark.parametrize("seed", range(12))
def test_a_clip_may_be_one_frame_whatever_happens_in_it(photos, seed):
    busy = replace(STILL, still_share=0.5, cut_share=1, object_share=1, light_share=1)
    clean, noisy = busy.clip(photos, 1, np.random.default_rng(seed))
    assert len(clean) == len(noisy) == 1


def test_every_format_delivers_whole_clips(photos):
    rng = np.random.default_rng(5)
    clip = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(5)]
    for form in (Format("rgb", "rgb"), Format("yuyv", "yuyv"), Format("jpeg", "jpeg", "420", 90)):
        delivered = form.deliver_clip(clip)
        assert [np.array_equal(frame, form.deliver([clip[i]])) for i, frame in enumerate(delivered)] == [True] * 5


def test_a_video_model_is_trained_behind_its_camera_model(photo_folder, tmp_path):
    phase = RECIPES["camera-nano"].phases[0]
    quick = replace(phase, epochs=1, steps_per_epoch=2, batch=2)
    camera = replace(RECIPES["camera-nano"], model=TINY, phases=(quick,))
    quick = replace(RECIPES["video-nano"].phases[0], epochs=1, steps_per_epoch=2, batch=2)
    options = {**TINY.options, "trust_width": 8}
    video = replace(
        RECIPES["video-nano"], model=ModelConfig("video_unet", options), phases=(quick,), data=ClipData(frames=2)
    )
    with pytest.raises(SourceError, match=r"camera-nano\.int8.tflite: not weights of this recipe's model"):
        train(video, data=photo_folder, out=tmp_path / "video-nano")  # from the built-in one, which is larger
    assert not (tmp_path / "video-nano").exists()
    train(camera, data=photo_folder, out=tmp_path / "camera-nano")
    run = train(video, data=photo_folder, out=tmp_path / "video-nano")
    assert run.started_from.startswith("camera-nano/model.keras")
    kinds = {metric.noise.split(",")[0] for metric in run.measured}
    assert kinds == {"still", "moving", "objects"}
    assert all(np.isfinite(metric.value) for metric in run.measured)


def test_light_of_the_mains_flickers_in_bands_and_h265_is_among_the_formats(photos):
    lit = replace(STILL, light_share=1)
    scenes = [lit.scene([np.full((300, 300, 3), 100, np.uint8)], 4, np.random.default_rng(seed)) for seed in range(60)]
    banded = [scene for scene in scenes if np.ptp(scene[0].mean(axis=(1, 2))) > 2]
    assert 3 <= len(banded) <= 20
    assert all(frame.std(axis=(1, 2)).max() < 0.1 for scene in banded for frame in scene), "a row has one brightness"
    noise, rng = ClipNoise(camera=replace(RGB, rgb_share=0, h264_share=1)), np.random.default_rng(4)
    codecs = [noise.random_format(rng).codec for _ in range(200)]
    assert codecs.count("h265") == pytest.approx(60, abs=20)
    assert set(codecs) == {"h264", "h265"}

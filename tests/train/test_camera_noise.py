"""The noise that camera denoisers train on, and the sensor that makes a part of it."""

import cv2
import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.noise import MAX_SIGMA_255
from quietframe.noise.estimate import read_noise
from quietframe_train import sensor
from quietframe_train.camera_noise import CameraNoise, compress, flat_frame, smoothed

WHITE = {"sensor_share": 0.0, "quiet_share": 0.0, "gray_share": 0.0, "flat_share": 0.0, "understated_share": 0.0}


def rng(seed=0):
    return np.random.default_rng(seed)


def shades(count, side, level=128):
    return np.full((count, side, side, 3), level, np.uint8)


def photos(count, side):
    photo = photo_bgr()
    corners = rng(9).integers(min(photo.shape[:2]) - side + 1, size=(count, 2))
    return np.stack([photo[top : top + side, left : left + side] for top, left in corners])


def test_noise_differs_between_frames_and_calls_and_repeats_with_the_seed():
    source, generator = photos(6, 120), rng(5)
    first, second = CameraNoise().apply(source, 64, generator), CameraNoise().apply(source, 64, generator)
    again = CameraNoise().apply(source, 64, rng(5))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.noisy, second.noisy)
    assert len({frame.tobytes() for frame in first.noisy}) == 6
    assert first.clean.shape == first.noisy.shape == (6, 64, 64, 3)


def test_white_noise_is_told_its_level_within_the_error():
    noise = CameraNoise(max_sigma_255=30, level_error=0.2, **WHITE)
    clean, noisy, told = noise.apply(shades(300, 48), 48, rng())
    assert np.all(clean == 128)
    measured = np.std(noisy.astype(float), axis=(1, 2, 3))
    strong = measured > 3  # below, rounding to 8 bits adds to what is measured
    ratio = told[strong] / measured[strong]
    assert np.all((ratio > 0.77) & (ratio < 1.24))
    assert np.min(ratio) < 0.85 < 1.15 < np.max(ratio)
    assert 28 < measured.max() < 31


def test_some_white_noise_is_told_as_far_less_than_it_is():
    noise = CameraNoise(**{**WHITE, "understated_share": 0.25})
    clean, noisy, told = noise.apply(shades(400, 32), 32, rng())
    ratio = told / np.std(noisy.astype(float) - clean, axis=(1, 2, 3))
    assert 0.15 < np.mean(ratio < 0.65) < 0.3
    assert ratio.min() < 0.05


def test_a_sensors_noise_is_told_as_less_than_it_is():
    noise = CameraNoise(sensor_share=1.0, told_share=(0.15, 1.3))
    clean, noisy, told = noise.apply(photos(300, noise.source_side(48)), 48, rng())
    ratio = told / np.std(noisy.astype(float) - clean, axis=(1, 2, 3))
    assert 0.15 <= ratio.min() < 0.2
    assert 1.1 < ratio.max() <= 1.3001


def test_a_sensors_frames_are_as_soft_as_asked_for():
    def detail(softness):
        noise = CameraNoise(sensor_share=1.0, flat_share=0.0, resize_share=0.0, softness=(softness, softness))
        clean = noise.apply(photos(20, noise.source_side(48)), 48, rng()).clean.astype(float)
        return np.abs(np.diff(clean, axis=2)).mean()

    assert detail(1.5) > 1.5 * detail(3.0) > 2 * detail(6.0)


def test_a_sensors_noise_is_smoothed_as_asked_for():
    """Of neighbours, noise of brightness is alike where it was smoothed; noise of colour is so in any case."""
    always = {"sensor_share": 1.0, "flat_share": 0.0, "resize_share": 0.0, "jpeg_share": 0.0, "smooth_share": 1.0}

    def alike(radius):
        noise = CameraNoise(**always, radius=radius, colour_radius=(3, 4))
        clean, noisy, _ = noise.apply(shades(30, noise.source_side(48)), 48, rng())
        left = noisy.astype(float) - clean
        bright = brightness(left)
        planes = bright, left[..., 2] - bright
        return [np.corrcoef(plane[:, :, 1:].ravel(), plane[:, :, :-1].ravel())[0, 1] for plane in planes]

    (bright, colour), (bright_smooth, colour_smooth) = alike((0.0, 0.1)), alike((1.2, 1.3))
    assert bright < 0.5 < 0.7 < bright_smooth
    assert min(colour, colour_smooth) > 0.8


def test_quiet_frames_are_clean_or_compressed_and_told_little():
    clean, noisy, told = CameraNoise(sensor_share=0, quiet_share=1.0, gray_share=0).apply(photos(40, 80), 64, rng())
    same = [np.array_equal(*pair) for pair in zip(clean, noisy, strict=True)]
    assert 5 < sum(same) < 35
    assert told.max() < 3


def test_quiet_frames_are_soft_where_asked():
    def detail(share):
        noise = CameraNoise(sensor_share=0, quiet_share=1.0, flat_share=0, soft_quiet_share=share, softness=(4.0, 4.0))
        return np.abs(np.diff(noise.apply(photos(40, 80), 64, rng()).clean.astype(float), axis=2)).mean()

    assert detail(0.0) > 1.2 * detail(0.5) > 1.4 * detail(1.0)


def test_gray_frames_have_gray_noise():
    clean, noisy, _ = CameraNoise(**{**WHITE, "gray_share": 1.0}).apply(photos(5, 64), 64, rng())
    for image in (clean, noisy):
        assert np.array_equal(image[..., 0], image[..., 1])
        assert np.array_equal(image[..., 1], image[..., 2])


def test_told_levels_stay_in_what_models_know():
    told = CameraNoise(max_sigma_255=200, **WHITE).apply(shades(100, 8), 8, rng()).told_255
    assert told.dtype == np.float32
    assert told.min() >= 0
    assert told.max() == MAX_SIGMA_255


def test_frames_that_are_too_small_for_a_shrunk_photograph_still_do():
    clean, noisy, _ = CameraNoise(sensor_share=1.0, resize_share=1.0).apply(photos(8, 64), 64, rng())
    assert clean.shape == noisy.shape == (8, 64, 64, 3)
    assert np.std(noisy.astype(float) - clean) > 1


def test_it_describes_itself_in_one_line():
    assert "sigma 0 to 60 of 255" in CameraNoise().describe()
    assert "\n" not in CameraNoise().describe()


def brightness(noise):
    return noise @ np.array([0.114, 0.587, 0.299])


def test_smoothing_spreads_noise_of_colour_further_than_that_of_brightness():
    clean = shades(1, 256)[0]
    noisy = np.clip(np.rint(clean + rng().normal(0, 20, clean.shape)), 0, 255).astype(np.uint8)
    noise = smoothed(clean, noisy, 0.6, 3.0, 0.8, 2.0) - clean.astype(np.float32)
    assert np.abs(noise.mean(axis=(0, 1))).max() < 0.5

    def alike(plane, pixels):
        return float(np.corrcoef(plane[:, :-pixels].ravel(), plane[:, pixels:].ravel())[0, 1])

    assert alike(brightness(noise), 1) > 0.3
    assert abs(alike(brightness(noise), 4)) < 0.1
    assert alike(noise[..., 2] - noise[..., 1], 4) > 0.5
    stronger = smoothed(clean, noisy, 0.6, 3.0, 0.8, 4.0) - clean.astype(np.float32)
    assert stronger.std() == pytest.approx(2 * noise.std(), rel=0.05)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_smoothing_leaves_so_much_noise_of_colour(share):
    clean = np.full((256, 256, 3), 120, np.uint8)
    noisy = np.clip(np.rint(clean + rng().normal(0, 20, clean.shape)), 0, 255).astype(np.uint8)
    noise = smoothed(clean, noisy, 0.6, 3.0, share, 3.0) - clean.astype(np.float32)
    colour = noise - brightness(noise)[..., None]
    assert colour.std() == pytest.approx(share * brightness(noise).std(), rel=0.05)


def test_smoothing_of_a_frame_without_noise_changes_nothing():
    photo = photo_bgr()[:64, :64]
    assert np.array_equal(smoothed(photo, photo, 0.6, 3.0, 0.8, 2.0), photo)


def test_a_flat_frame_changes_evenly_from_edge_to_edge():
    for seed in range(20):
        steps = np.diff(flat_frame(4, 60, rng(seed)).astype(int), axis=1)
        assert np.ptp(steps, axis=1).max() <= 1


def test_half_of_the_flat_frames_are_near_gray():
    means = np.array([flat_frame(4, 4, rng(seed)).mean(axis=(0, 1)) for seed in range(400)])
    near = np.ptp(means, axis=1) < 60
    assert 0.45 < near.mean() < 0.75, "half on purpose, and a few by chance"
    assert means.mean(axis=1).min() < 30 and means.mean(axis=1).max() > 225


@pytest.mark.parametrize("quality", [50, 95])
def test_jpeg_of_lower_quality_loses_more(quality):
    photo = photo_bgr()[:128, :128]
    error = np.std(compress(photo, quality).astype(float) - photo)
    assert (error > 2.5) == (quality == 50)


def test_gamma_there_and_back_is_the_same_picture():
    photo = photo_bgr()
    assert np.array_equal(sensor.to_display(sensor.to_linear(photo)), photo)


def test_a_sensors_colours_there_and_back():
    photo = photo_bgr()
    for seed in range(5):
        camera = sensor.random_sensor(rng(seed))
        light = sensor.to_linear(photo)
        back = sensor.from_sensor(sensor.to_sensor(light, camera), camera)
        unsaturated = (light.max(axis=2) < 0.7) & (light.min(axis=2) > 0.02)
        error = np.abs(back - light).max(axis=2)[unsaturated]
        assert np.mean(error < 1e-3) > 0.97, "but for colours that the sensor cannot see"


def test_mosaic_has_the_colours_of_its_filter_and_demosaic_brings_smooth_pictures_back():
    colours = np.zeros((4, 4, 3), np.float32)
    colours[..., 2], colours[..., 1], colours[..., 0] = 0.3, 0.2, 0.1
    raw = sensor.mosaic(colours)
    assert np.allclose(raw[:2, :2], [[0.3, 0.2], [0.2, 0.1]])
    assert np.allclose(raw[2:, 2:], raw[:2, :2])
    slope = np.linspace(0.1, 0.9, 64, dtype=np.float32)
    smooth = np.stack(np.broadcast_arrays(slope[:, None], slope[None, :], np.float32(0.5)), axis=2)
    assert np.abs(sensor.demosaic(sensor.mosaic(smooth)) - smooth)[2:-2, 2:-2].max() < 0.02


def test_shot_and_read_noise_has_the_variance_it_says():
    for level in (0.1, 0.5):
        noisy = sensor.add_shot_read(np.full((400, 400), level, np.float32), 0.01, 0.0004, rng())
        assert np.var(noisy) == pytest.approx(0.01 * level + 0.0004, rel=0.02)
        assert np.mean(noisy) == pytest.approx(level, abs=1e-3)


def test_demosaiced_noise_is_spread_over_neighbours_and_reads_too_low_in_fine_detail():
    photo = cv2.resize(photo_bgr(), (512, 512))
    reads = []
    for seed in range(4):
        clean, noisy = sensor.photograph(photo, rng(seed))
        reads.append(float(read_noise(noisy)[1]) / np.std(noisy.astype(float) - clean))
    assert np.median(reads) < 0.8

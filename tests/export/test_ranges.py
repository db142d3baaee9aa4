"""What the exporter does to ranges before they go into a file."""

from __future__ import annotations

import keras
import pytest

from quietframe_export.ranges import in_whole_levels
from quietframe_train.models.camera import camera_nano, camera_unet


@pytest.fixture(scope="module", params=["unet", "nano"])
def camera(request: pytest.FixtureRequest) -> keras.Model:
    if request.param == "nano":
        return camera_nano(width=16, deep_widths=(32,))
    return camera_unet(widths=(16, 32), encoder_convs=(1, 1), decoder_convs=(0,))


@pytest.mark.parametrize("span", [(-0.53, 0.52), (-0.45, 0.4), (0.0, 1.1)])
def test_what_is_added_to_the_frame_has_steps_of_one_level(camera: keras.Model, span: tuple[float, float]) -> None:
    ranges = {"scaled": span, "residual": (-0.5, 0.5)}
    found = in_whole_levels(camera, ranges)
    assert found == {"scaled": (-128 / 255, 127 / 255), "residual": (-0.5, 0.5)}
    assert ranges["scaled"] == span, "what was given stays as it was"


@pytest.mark.parametrize("span", [(-0.2, 0.2), (-1.0, 1.0)])
def test_a_range_that_is_far_from_that_stays(camera: keras.Model, span: tuple[float, float]) -> None:
    assert in_whole_levels(camera, {"scaled": span}) == {"scaled": span}


def test_a_model_without_such_a_sum_keeps_its_ranges() -> None:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="first")(image)
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(x))
    assert in_whole_levels(model, {"first": (-0.5, 0.5)}) == {"first": (-0.5, 0.5)}

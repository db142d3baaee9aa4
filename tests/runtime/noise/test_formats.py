from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quietframe.assets import photo_bgr
from quietframe.errors import UsageError
from quietframe.noise.formats import CLIP_FRAMES, FORMATS, Format, deliver_noisy, encode_clip, find_format, jpeg
from quietframe.quality import psnr_db
from support.images import rng

AV = {name for name, form in FORMATS.items() if form.codec == "h264"}


def needs(name: str) -> None:
    if name in AV:
        pytest.importorskip("av")


def test_the_names_are_those_of_the_design():
    assert list(FORMATS) == [
        "rgb",
        "yuyv-422",
        "jpeg-90-422",
        "jpeg-95-420",
        "jpeg-80-420",
        "jpeg-60-420",
        "h264-20",
        "h264-28",
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_a_clean_frame_stays_nearly_as_it_is(name):
    needs(name)
    photo = photo_bgr()[:161, :203]
    delivered = deliver_noisy(photo, 0, FORMATS[name], rng())
    assert delivered.shape == photo.shape
    assert delivered.dtype == np.uint8
    assert psnr_db(photo, delivered) > 31
    assert (name == "rgb") == np.array_equal(photo, delivered)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_seed_gives_the_same_frame(name):
    needs(name)
    photo = photo_bgr()[:64, :64]
    first, again, other = (deliver_noisy(photo, 20, FORMATS[name], rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("name", "left"), [("yuyv-422", 21), ("jpeg-90-422", 21), ("jpeg-95-420", 18), ("jpeg-80-420", 19)]
)
def test_less_noise_is_left_than_there_was(name, left):
    gray = np.full((256, 256, 3), 128, np.uint8)
    noise = deliver_noisy(gray, 25, FORMATS[name], rng()).astype(float) - 128
    assert np.std(noise) == pytest.approx(left, abs=1.5)
    chroma = noise[:, :, 2] - noise[:, :, 0]
    along = np.mean(chroma[:, 0::2] * chroma[:, 1::2]) / np.mean(chroma**2)
    assert along > 0.5, "neighbours share their chroma"


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.sampled_from([name for name in FORMATS if name not in AV]))
def test_any_size_keeps_its_size(height, width, name):
    frame = rng().integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert FORMATS[name].deliver([frame]).shape == frame.shape


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_a_codec_gives_every_frame_of_the_clip(codec):
    pytest.importorskip("av")
    form = Format(codec, codec, quality=20)
    assert form.frames == CLIP_FRAMES
    clip = [np.full((33, 67, 3), level, np.uint8) for level in [40] * (CLIP_FRAMES - 1) + [200]]
    delivered = encode_clip(clip, codec, 20)
    assert [frame.shape for frame in delivered] == [(33, 67, 3)] * CLIP_FRAMES
    assert [frame.mean() for frame in delivered] == pytest.approx([frame.mean() for frame in clip], abs=2)
    assert np.array_equal(form.deliver(clip), delivered[-1])


def test_h265_takes_no_frame_that_its_encoder_would_not_survive():
    with pytest.raises(UsageError, match="at least 64 pixels wide"):
        encode_clip([np.zeros((64, 48, 3), np.uint8)], "h265", 20)


def test_more_compression_leaves_less_noise():
    pytest.importorskip("av")
    photo = photo_bgr()[:128, :128]
    assert psnr_db(photo, deliver_noisy(photo, 25, FORMATS["h264-28"], rng())) > psnr_db(
        photo, deliver_noisy(photo, 25, FORMATS["h264-20"], rng())
    )
    assert psnr_db(photo, jpeg(photo, 95, "420")) > psnr_db(photo, jpeg(photo, 60, "420"))


def test_chroma_subsampling_of_jpeg():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2, 2] = 255  # red columns, one pixel wide
    losses = [psnr_db(stripes, jpeg(stripes, 98, chroma)) for chroma in ("444", "422", "420")]
    assert losses[0] > losses[1] + 5
    rows = np.ascontiguousarray(stripes.transpose(1, 0, 2))
    assert psnr_db(rows, jpeg(rows, 98, "422")) > psnr_db(rows, jpeg(rows, 98, "420")) + 3


def test_an_unknown_format_is_named_with_the_known_ones():
    assert find_format("rgb").codec == "rgb"
    with pytest.raises(UsageError, match=r"Unknown format 'webp': expected one of rgb, yuyv-422, .*h264-28"):
        find_format("webp")

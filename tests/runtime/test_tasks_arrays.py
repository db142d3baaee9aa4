"""Frames of any size, type and layout in memory: the result depends on the pixels alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quietframe as qf

Array = np.ndarray[Any, Any]


def read_only(pixels: Array) -> Array:
    return np.frombuffer(pixels.tobytes(), pixels.dtype).reshape(pixels.shape)


def unaligned(pixels: Array) -> Array:
    copy = np.frombuffer(bytearray(1 + pixels.nbytes), pixels.dtype, pixels.size, offset=1).reshape(pixels.shape)
    copy[...] = pixels
    return copy


def part_of_larger(*steps: int) -> Callable[[Array], Array]:
    """Copy to every second or third row, column or channel of a larger array, away from its border."""

    def copied(pixels: Array) -> Array:
        each = steps[: pixels.ndim]
        larger = np.full([length * step + 2 for length, step in zip(pixels.shape, each, strict=True)], 99, pixels.dtype)
        part = larger[tuple(slice(1, 1 + length * step, step) for length, step in zip(pixels.shape, each, strict=True))]
        part[...] = pixels
        return part

    return copied


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran order": np.asfortranarray,
    "columns first": lambda pixels: pixels.swapaxes(0, 1).copy().swapaxes(0, 1),
    "channels first": lambda pixels: np.moveaxis(np.moveaxis(pixels, -1, 0).copy(), 0, -1),
    "rows reversed": lambda pixels: pixels[::-1].copy()[::-1],
    "columns reversed": lambda pixels: pixels[:, ::-1].copy()[:, ::-1],
    "channels reversed": lambda pixels: pixels[..., ::-1].copy()[..., ::-1],
    "part of a larger image": part_of_larger(1, 1, 1),
    "every second row, every third column": part_of_larger(2, 3, 1),
    "read only": read_only,
    "unaligned": unaligned,
    "masked array": np.ma.array,
}


def bounded(examples: int) -> settings:
    return settings(derandomize=True, deadline=None, max_examples=examples)


sides = st.integers(1, 300)


@st.composite
def images(draw: st.DrawFn, *dtypes: Any) -> Array:
    """Draw gray, BGR or BGRA pixels of 1 to 300 rows and columns: noise, an even color, or three equal planes."""
    dtype, height, width = draw(st.sampled_from(dtypes)), draw(sides), draw(sides)
    channels = draw(st.sampled_from([(), (3,), (4,)]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    pixels = rng.integers(0, np.iinfo(dtype).max, (height, width, *channels), dtype, endpoint=True)
    content = draw(st.sampled_from(["noise", "even", "equal planes"]))
    if content == "even":
        pixels[:] = pixels[0, 0]
    elif content == "equal planes" and channels:
        pixels[..., :3] = pixels[..., :1]
    return pixels


layouts = st.sampled_from(list(LAYOUTS)).map(LAYOUTS.__getitem__)
engines = pytest.mark.parametrize("file", ["camera-nano.int8.tflite", "camera-nano.fp32.onnx"])


def open_built_in(file: str, **options: Any) -> qf.Denoiser:
    if file.endswith(".onnx"):
        pytest.importorskip("onnxruntime", reason="running ONNX models needs onnxruntime")
    return qf.Denoiser(Path(qf.__file__).with_name("zoo") / file, threads=1, **options)


def swapped(pixels: Array) -> Array:
    """Swap red and blue."""
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def same_from(layout: Callable[[Array], Array], pixels: Array, task: Callable[[Array], Array], expected: Array) -> None:
    """Check what a task makes of pixels that lie in memory otherwise."""
    frame = layout(pixels)
    clean = task(frame)
    assert np.array_equal(clean, expected)
    assert type(clean) is np.ndarray and clean.flags.c_contiguous and clean.flags.writeable
    assert (clean.shape, clean.dtype) == (pixels.shape, pixels.dtype)
    assert np.array_equal(frame, pixels), "the frame is never written to"
    assert not np.shares_memory(clean, frame), "the result is the caller's"


@engines
def test_a_denoisers_result_depends_on_the_pixels_alone(file):
    denoise = open_built_in(file)
    dtypes = (np.uint8, np.uint16) if denoise.keeps_16bit else (np.uint8,)

    @bounded(150 if file.endswith(".tflite") else 60)
    @given(images(*dtypes), layouts, st.sampled_from([(1.0, 1.0), (0.5, 0.5), (0.3, 0.8)]))
    def check(pixels: Array, layout: Callable[[Array], Array], shares: tuple[float, float]) -> None:
        denoise.color, (denoise.luma_strength, denoise.chroma_strength) = "bgr", shares
        expected = denoise(pixels)
        assert pixels.ndim < 3 or np.array_equal(expected[..., 3:], pixels[..., 3:]), "the alpha is kept"
        same_from(layout, pixels, denoise, expected)
        denoise.color = "rgb"
        same_from(layout, swapped(pixels), denoise, swapped(expected))

    check()


@engines
def test_tiles_give_what_the_whole_frame_gives(file):
    """Of floats, the sums differ in their last digit."""
    whole, tiled = open_built_in(file, sigma_255=20), open_built_in(file, sigma_255=20, tile_pixels=12_544)
    levels = 1 if file.endswith(".onnx") else 0

    @bounded(40)
    @given(images(np.uint8))
    def check(pixels: Array) -> None:
        difference = tiled(pixels).astype(int) - whole(pixels)
        assert np.abs(difference).max() <= levels

    check()
    assert tiled.placement(300, 300).count > 9


@pytest.mark.parametrize("kind", [qf.Classifier, qf.DenoiseClassifier])
def test_a_classifiers_answer_depends_on_the_pixels_alone(kind):
    classify = kind({qf.Classifier: "digits", qf.DenoiseClassifier: "denoise-and-classify"}[kind], threads=1)

    @bounded(100)
    @given(images(np.uint8), layouts)
    def check(pixels: Array, layout: Callable[[Array], Array]) -> None:
        classify.color, frame = "bgr", layout(pixels)
        answer = classify(pixels)
        assert classify(frame) == answer
        assert np.array_equal(frame, pixels), "the frame is never written to"
        assert 0 <= answer.score == max(answer.values) <= 1
        if kind is qf.DenoiseClassifier:
            assert np.array_equal(classify(frame).image, answer.image)
        classify.color = "rgb"
        assert classify(layout(swapped(pixels))) == answer

    check()


@st.composite
def clips(draw: st.DrawFn) -> list[Array]:
    """Draw three noisy frames of a bright bar that moves."""
    shape = draw(sides), draw(sides), *draw(st.sampled_from([(), (3,), (4,)]))
    rng, step = np.random.default_rng(draw(st.integers(0, 99))), draw(st.integers(0, 4))
    frames = [rng.integers(90, 140, shape, np.uint8) for _ in range(3)]
    for index, frame in enumerate(frames):
        frame[:, shape[1] // 4 + step * index : shape[1] // 2 + step * index] += 100
    return frames


def test_two_videos_do_not_mix_and_each_depends_on_its_pixels_alone():
    alone, again, other = (qf.VideoDenoiser("video-nano", threads=1) for _ in range(3))

    @bounded(30)
    @given(clips(), clips(), layouts)
    def check(clip: list[Array], another: list[Array], layout: Callable[[Array], Array]) -> None:
        for denoise in (alone, again, other):
            denoise.reset()
        expected = []
        for pixels, between in zip(clip, another, strict=True):
            expected.append((alone(pixels), alone.fused))
            same_from(layout, pixels, again, expected[-1][0])
            assert again.fused == alone.fused
            other(between)
        alone.reset()
        assert alone.fused is None
        for pixels, (clean, fused) in zip(clip, expected, strict=True):
            assert np.array_equal(alone(pixels), clean) and alone.fused == fused
        if another[0].shape != clip[0].shape:  # a frame of another shape begins anew
            again(another[0])
            assert np.array_equal(again(clip[0]), expected[0][0]) and again.fused == expected[0][1]

    check()

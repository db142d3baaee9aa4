from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import quietframe as qf
from quietframe.assets import photo_bgr
from quietframe.card import Spatial
from quietframe.errors import FrameError, ModelLoadError, UsageError
from quietframe.noise import add_gaussian
from quietframe.tasks.fit import TILE_PIXELS, least_tile_pixels
from support.images import random_frame

MakeModel = Callable[..., Path]
SUFFIXES = [".tflite"] + [".onnx"] * all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
# The fixtures' models are read only, so that examples may share them.
shares_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))


def mean_3x3(image: np.ndarray) -> np.ndarray:
    """What the tiny blur computes: the mean of the pixels that are there."""
    weights = cv2.boxFilter(np.ones(image.shape[:2]), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    sums = cv2.boxFilter(image.astype(float), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.rint(sums / (weights if image.ndim == 2 else weights[:, :, None]))


def assert_close(image: np.ndarray, expected: np.ndarray, levels: int) -> None:
    assert image.shape == expected.shape
    assert image.dtype == np.uint8
    assert int(np.abs(image.astype(int) - expected.astype(int)).max()) <= levels


# --- any size ---------------------------------------------------------------------------------------------------


@pytest.fixture
def in_eights(make_model: MakeModel) -> qf.Denoiser:
    """It takes multiples of 8 only, and gives back what it was given."""
    return qf.Denoiser(make_model(dtype="uint8", multiple=8))


@given(size_hw=sizes, gray=st.booleans())
@example((1, 640), False)
@example((2, 20_000), False)
@example((20_000, 3), True)
@shares_fixtures
def test_any_size_comes_back_in_its_size(in_eights, size_hw, gray):
    frame = random_frame(*(size_hw if gray else (*size_hw, 3)))
    clean = in_eights(frame)
    assert clean.flags.c_contiguous and clean.flags.writeable
    assert_close(clean, frame, 0)


def test_padding_is_by_reflection(make_model):
    """A blur of the padded frame shows what was padded with: the frame's mirror image, without its edge again."""
    frame = random_frame(5, 6)
    padded = cv2.copyMakeBorder(frame, 0, 3, 0, 2, cv2.BORDER_REFLECT_101)
    clean = qf.Denoiser(make_model(colour="GRAY", multiple=4, blur=True))(frame)
    assert_close(clean, mean_3x3(padded)[:5, :6], 1)


# --- the formats of tensors ---------------------------------------------------------------------------------------

TENSORS = [
    (suffix, dtype, layout, colour)
    for suffix in SUFFIXES
    for dtype in (("float32", "uint8", "int8", "int16") if suffix == ".tflite" else ("float32", "uint8"))
    for layout in ("NHWC", "NCHW")
    for colour in ("BGR", "RGB", "GRAY")
]


@pytest.mark.parametrize("level_map", [False, True])
@pytest.mark.parametrize(("suffix", "dtype", "layout", "colour"), TENSORS)
def test_every_kind_of_tensor_gives_the_same_frame(make_model, suffix, dtype, layout, colour, level_map):
    path = make_model(suffix=suffix, dtype=dtype, layout=layout, colour=colour, sigma=True, level_map=level_map)
    for shape in ((11, 14, 3), (11, 14)):
        frame = random_frame(*shape)
        expected = np.minimum(frame.astype(int) + 20, 255)
        assert_close(qf.Denoiser(path, sigma_255=20)(frame), expected, 0)


@pytest.mark.parametrize(
    "model",
    [
        *({"value_range": limits} for limits in [(-1.0, 1.0), (0.0, 255.0), (-0.5, 0.5), (10.0, 20.0)]),
        *({"suffix": suffix, "offset_255": offset} for suffix in SUFFIXES for offset in (-100, 100)),
    ],
    ids=str,
)
def test_value_ranges_and_results_beyond_8_bits(make_model, model):
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16)
    clean = qf.Denoiser(make_model(colour="GRAY", **model))(frame)
    assert_close(clean, np.clip(frame.astype(int) + model.get("offset_255", 0), 0, 255), 0)


@pytest.mark.parametrize(("colour", "shape"), [("BGR", (20, 30)), ("GRAY", (20, 30, 3))], ids=str)
def test_gray_and_colour_meet(make_model, colour, shape):
    """Gray through a colour model stays gray; colour goes through a gray model channel by channel."""
    frame = random_frame(*shape)
    assert_close(qf.Denoiser(make_model(colour=colour, blur=True))(frame), mean_3x3(frame), 1)


# --- the caller's frame -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_frame_is_never_changed(make_model, dtype, strength):
    denoise = qf.Denoiser(make_model(dtype=dtype, offset_255=40), strength=strength)
    frame = random_frame(16, 16, 3)
    kept = frame.copy()
    clean = denoise(frame)
    clean[:] = 0
    assert np.array_equal(frame, kept)
    assert denoise(frame).any()


# --- fixed sizes --------------------------------------------------------------------------------------------------


@given(size_hw=st.tuples(st.integers(2, 70), st.integers(2, 70)))
@shares_fixtures
def test_tiles_join_to_what_the_whole_frame_gives(tiled_and_whole, size_hw):
    tiled, whole = tiled_and_whole
    frame = random_frame(*size_hw, 3)
    expected = whole(frame)
    inside = np.s_[: size_hw[0] - (size_hw[0] < 12), : size_hw[1] - (size_hw[1] < 16)]
    # Where a frame is smaller than a tile, its padding is seen at the last row or column.
    assert_close(tiled(frame)[inside], expected[inside], 0)


@pytest.fixture(params=SUFFIXES)
def tiled_and_whole(request: pytest.FixtureRequest, make_model: MakeModel) -> tuple[qf.Denoiser, qf.Denoiser]:
    """The same blur, with a halo of one pixel, in tiles of 12×16 and for whole frames."""
    tiles = make_model("tiles", suffix=request.param, blur=True, size_hw=(12, 16), fit="tile")
    return qf.Denoiser(tiles), qf.Denoiser(make_model("whole", suffix=request.param, blur=True))


@pytest.mark.parametrize("size_hw", [(24, 32), (12, 16), (6, 8), (1, 1), (100, 3)])
def test_resizing_brings_the_frame_there_and_back(make_model, size_hw):
    denoise = qf.Denoiser(make_model(size_hw=(12, 16), fit="resize"))
    flat = np.full((*size_hw, 3), (10, 100, 200), np.uint8)
    assert_close(denoise(flat), flat, 0)
    same_size = random_frame(12, 16, 3)
    assert_close(denoise(same_size), same_size, 0)


# --- frames that are too large ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(250, 381, 3), (512, 130, 3), (83, 512)])
def test_large_frames_in_tiles_give_what_they_give_whole(shape):
    """For every halo and multiple: test_tasks_fit.py."""
    photo = photo_bgr() if len(shape) == 3 else photo_bgr()[:, :, 1]
    frame = add_gaussian(photo[: shape[0], : shape[1]], 20, np.random.default_rng(0))
    whole = qf.Denoiser("camera-nano")
    cut = qf.Denoiser("camera-nano", tile_pixels=least_tile_pixels(whole.card.spatial))
    assert cut.placement(*shape[:2]).count > 4
    clean = cut(frame)
    assert clean.flags.c_contiguous and clean.flags.writeable
    assert_close(clean, whole(frame), 0)


@pytest.fixture
def level_adder(make_model: MakeModel) -> Path:
    """A uint8 model that adds the level that it is given, and whose card claims that it sees a pixel far."""
    spatial = Spatial("any", multiple=2, halo=1)
    return make_model(dtype="uint8", multiple=2, sigma=True, card_changes={"spatial": spatial})


def test_the_level_is_estimated_once_for_all_tiles(level_adder):
    """Were it estimated tile by tile, the noisy part would become brighter than the other."""
    frame = np.full((64, 96, 3), 90, np.uint8)
    frame[:, 16:] = add_gaussian(frame[:, 16:], 15, np.random.default_rng(0))
    cut = qf.Denoiser(level_adder, tile_pixels=256)
    assert cut.placement(64, 96).count > 20
    assert added(cut(frame), frame) == round(qf.estimate_noise(frame)) > 0


def test_only_what_is_larger_than_the_default_goes_in_tiles(make_model):
    denoise = qf.Denoiser(make_model(blur=True))
    assert denoise.placement(TILE_PIXELS // 1024, 1024).count == 1
    assert denoise.placement(TILE_PIXELS // 1024 + 1, 1024).count == 2
    far = replace(denoise.card, spatial=Spatial("any", multiple=8, halo=3000))
    placement = qf.Denoiser(make_model(blur=True), card=far).placement(30_000, 40_000)
    assert 1 < placement.count < 30, "a model that sees far gets larger tiles"


def test_a_card_without_a_halo_means_whole_frames(make_model):
    """Nobody knows how far that model sees."""
    assert qf.Denoiser(make_model(multiple=8)).placement(6000, 9000).part_hw == (6000, 9000)


def test_what_a_model_of_one_size_sees(make_model):
    frame = np.zeros((30, 50, 3), np.uint8)
    resized = qf.Denoiser(make_model(size_hw=(8, 12)))
    assert resized.sees_wh == (12, 8)
    assert resized.fit(frame).shape == (8, 12, 3)
    assert resized.fit(frame[:, :, 0]).shape == (8, 12)
    for fields in ({}, {"size_hw": (8, 12), "fit": "tile"}, {"multiple": 2}):
        whole = qf.Denoiser(make_model("whole", **fields))
        assert whole.sees_wh is None
        assert whole.fit(frame) is frame
    with pytest.raises(FrameError):
        resized.fit(frame.astype(float))


# --- how strongly -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditioned", [False, True])
def test_strength_below_1_is_the_share_of_the_result(make_model, conditioned):
    path = make_model(offset_255=100, sigma=conditioned)
    frame = random_frame(10, 10, 3) // 2
    for strength in (0.0, 0.25, 1.0):
        denoise = qf.Denoiser(path, strength=strength, sigma_255=20 if conditioned else None)
        expected = np.rint(frame + (120 if conditioned else 100) * strength)
        assert_close(denoise(frame), expected, 1)
    assert np.array_equal(qf.Denoiser(path, strength=0)(frame), frame)


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize(("luma", "chroma"), [(0, 1), (1, 0), (0.5, 0.25), (0.3, 0.8), (None, 0.4), (0.4, None)])
def test_luma_and_chroma_are_denoised_apart(blur_file, luma, chroma, strength):
    frame = random_frame(437, 541, 3)  # more than is blended at once
    removed = qf.Denoiser(blur_file)(frame).astype(float) - frame
    result = qf.Denoiser(blur_file, strength=strength, luma_strength=luma, chroma_strength=chroma)(frame)
    of_luma = (removed @ [0.114, 0.587, 0.299])[..., None]
    shares = [strength * (1 if share is None else share) for share in (luma, chroma)]
    expected = np.clip(frame + shares[0] * of_luma + shares[1] * (removed - of_luma), 0, 255)
    assert np.abs(result - expected).max() < 0.502


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30)])
def test_equal_shares_of_luma_and_chroma_are_a_strength(blur_file, shape):
    frame = random_frame(*shape)
    for share in (0, 0.5, 1):
        result = qf.Denoiser(blur_file, luma_strength=share, chroma_strength=share)(frame)
        assert np.array_equal(result, qf.Denoiser(blur_file, strength=share)(frame))


@pytest.mark.parametrize(("luma", "chroma"), [(0.5, 0.25), (0.1, 0.7), (1, 0), (0.25, 1)])
@pytest.mark.parametrize("size", [(64, 64), (5, 3)])
def test_three_equal_planes_stay_equal(blur_file, luma, chroma, size):
    gray = random_frame(*size)
    denoise = qf.Denoiser(blur_file, luma_strength=luma, chroma_strength=chroma)
    planes = denoise(np.dstack([gray] * 3))
    assert (planes == planes[:, :, :1]).all()
    assert_close(planes[:, :, 0], denoise(gray), 1)


def added(clean: np.ndarray, frame: np.ndarray) -> int:
    """By how much a model that adds its level made a frame brighter."""
    difference = clean.astype(int) - frame
    assert difference.min() == difference.max()
    return int(difference[0, 0, 0])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({"sigma_255": 25}, 25),
        ({"sigma_255": 0}, 0),
        ({"sigma_255": 20, "strength": 1.5}, 30),
        ({"sigma_255": 20, "strength": 0}, 0),
        ({"sigma_255": 75}, 75),
        ({"sigma_255": 60, "strength": 10}, 75),
        ({"sigma_255": np.float32(25), "strength": np.int64(2)}, 50),
    ],
    ids=str,
)
def test_the_level_that_is_passed(make_model, suffix, dtype, options, level):
    frame = np.full((8, 8, 3), 100, np.uint8)
    denoise = qf.Denoiser(make_model(suffix=suffix, dtype=dtype, sigma=True), **options)
    assert added(denoise(frame), frame) == level


# --- a map of noise levels ----------------------------------------------------------------------------------------


@pytest.fixture(params=[(suffix, multiple) for suffix in SUFFIXES for multiple in (1, 4)], ids=str)
def map_file(request: pytest.FixtureRequest, make_model: MakeModel) -> Path:
    """A model that adds to each block of 1 or 4 pixels square the level that the map has there."""
    suffix, multiple = request.param
    spatial = Spatial("any", multiple=multiple, halo=1)
    options = {"suffix": suffix, "dtype": "uint8", "multiple": multiple, "card_changes": {"spatial": spatial}}
    return make_model("map", sigma=True, level_map=True, **options)


@pytest.mark.parametrize("shape", [(48, 64, 3), (61, 93, 3), (5, 3), (1, 1, 3)])
def test_an_even_map_is_the_number(map_file, denoiser_file, shape):
    frame = random_frame(*shape)
    denoise = qf.Denoiser(map_file, strength=1.5)
    expected = qf.Denoiser(denoiser_file, strength=1.5)(frame, sigma_255=20)
    for number in (20, np.float32(20), np.array(20)):
        assert np.array_equal(denoise(frame, sigma_255=number), expected)
    assert np.array_equal(qf.Denoiser(map_file, strength=1.5, sigma_255=20)(frame), expected)
    assert np.array_equal(denoise(frame), qf.Denoiser(denoiser_file, strength=1.5)(frame)), "an estimate fills the map"
    stride = denoise.card.inputs[1].stride
    for size_hw in (shape[:2], tuple(-(-length // stride) for length in shape[:2])):
        levels_255 = np.full(size_hw, 20, np.float32)
        assert np.array_equal(denoise(frame, sigma_255=levels_255), expected)
        assert (levels_255 == 20).all(), "the caller's levels stay"


@pytest.mark.parametrize("tile_pixels", [None, 256])
@pytest.mark.parametrize("size_hw", [(64, 96), (61, 93)])
def test_a_map_acts_only_where_it_says_so(map_file, size_hw, tile_pixels):
    """Also where frames are padded and where tiles meet."""
    denoise = qf.Denoiser(map_file, tile_pixels=tile_pixels)
    frame = random_frame(*size_hw, 3) // 2
    stride = denoise.card.inputs[1].stride
    blocks = np.random.default_rng(1).integers(0, 76, [-(-length // stride) for length in size_hw])
    each = blocks.repeat(stride, axis=0).repeat(stride, axis=1)[: size_hw[0], : size_hw[1]]
    inside = tuple(slice(0, length // stride * stride) for length in size_hw)  # the rest's blocks reach beyond
    assert np.array_equal(denoise(frame, sigma_255=blocks.astype(np.float32)), frame + each[:, :, None])
    by_pixel = denoise(frame, sigma_255=each.astype(np.float32))
    assert np.array_equal(by_pixel[inside], (frame + each[:, :, None])[inside])
    if tile_pixels:
        assert denoise.placement(*size_hw).count > 20


def test_levels_of_pixels_are_averaged(make_model):
    frame = np.full((4, 8, 3), 100, np.uint8)
    levels_255 = np.zeros((4, 8), np.float32)
    levels_255[0, :4] = 40
    clean = qf.Denoiser(make_model(multiple=4, sigma=True, level_map=True))(frame, sigma_255=levels_255)
    assert added(clean[:, :4], frame[:, :4]) == 10
    assert added(clean[:, 4:], frame[:, 4:]) == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_map_of_a_fixed_size(make_model, suffix):
    denoise = qf.Denoiser(make_model(suffix=suffix, size_hw=(16, 24), multiple=4, sigma=True, level_map=True))
    frame = np.full((32, 48, 3), 100, np.uint8)
    assert added(denoise(frame, sigma_255=20), frame) == 20
    levels_255 = np.repeat(np.float32([0, 30]), 16)[:, None].repeat(48, axis=1)
    clean = denoise(frame, sigma_255=levels_255)
    assert (added(clean[:12], frame[:12]), added(clean[20:], frame[20:])) == (0, 30)


@pytest.mark.parametrize(
    ("model", "levels_255", "says"),
    [
        ({}, np.ones((8, 12)), "tiny-denoise takes no map of noise levels: pass sigma_255 as a number"),
        ({"sigma": True}, np.ones((8, 12)), "tiny-denoise takes no map of noise levels"),
        ({"sigma": True, "level_map": True}, np.ones((4, 6)), r"of shape \(8, 12\) or \(2, 3\). Received: float64 of"),
        ({"sigma": True, "level_map": True}, np.ones((8, 12, 1)), r"Received: float64 of shape \(8, 12, 1\)"),
        ({"sigma": True, "level_map": True}, np.full((2, 3), np.nan), r"levels in \[0, 255\]"),
        ({"sigma": True, "level_map": True}, np.full((2, 3), -5), r"levels in \[0, 255\]"),
        ({"sigma": True, "level_map": True}, np.full((2, 3), 9999.0), r"levels in \[0, 255\]"),
        ({"sigma": True, "level_map": True}, np.full((2, 3), "a"), r"levels in \[0, 255\]"),
    ],
    ids=str,
)
def test_maps_that_are_refused(make_model, model, levels_255, says):
    denoise = qf.Denoiser(make_model(multiple=4, **model))
    with pytest.raises(UsageError, match=says) as caught:
        denoise(np.zeros((8, 12, 3), np.uint8), sigma_255=levels_255)
    assert "\n" not in str(caught.value)


def test_the_level_is_estimated_for_every_frame(denoiser_file):
    denoise = qf.Denoiser(denoiser_file)
    double = qf.Denoiser(denoiser_file, strength=2)
    rng = np.random.default_rng(0)
    for sigma_255 in (5, 20):
        frame = np.clip(np.rint(100 + rng.normal(0, sigma_255, (64, 64, 3))), 0, 170).astype(np.uint8)
        estimate = qf.estimate_noise(frame)
        assert added(denoise(frame), frame) == round(estimate)
        assert added(double(frame), frame) == round(2 * estimate)


@pytest.mark.parametrize("level_map", [False, True])
def test_levels_of_a_frame_beyond_the_models_range_are_clipped(make_model, level_map):
    """They may be an estimate, and the noise may be stronger than what the model was trained on."""
    frame = np.full((8, 8, 3), 100, np.uint8)
    denoise = qf.Denoiser(make_model(dtype="uint8", multiple=2, sigma=True, level_map=level_map))
    assert added(denoise(frame, sigma_255=200), frame) == 75
    if level_map:
        left, right = np.s_[:, :4], np.s_[:, 4:]
        levels_255 = np.full((8, 8), 200, np.float32)
        levels_255[left] = 0
        clean = denoise(frame, sigma_255=levels_255)
        assert (added(clean[left], frame[left]), added(clean[right], frame[right])) == (0, 75)


PLAIN, CONDITIONED = {"blur": True}, {"dtype": "uint8", "multiple": 2, "sigma": True}
OUT_OF_RANGE: list[tuple[dict[str, Any], str, Any, str]] = [
    *((PLAIN, "strength", value, r"Expected strength in \[0, 1\]\. Received: ") for value in (-0.1, 1.5, float("nan"))),
    (PLAIN, "strength", "high", "Expected strength to be a number. Received: 'high'"),
    (PLAIN, "luma_strength", 1.1, r"Expected luma_strength in \[0, 1\]. Received: 1.1"),
    (PLAIN, "chroma_strength", float("nan"), r"Expected chroma_strength in \[0, 1\]. Received: nan"),
    (PLAIN, "luma_strength", "low", "Expected luma_strength to be a number. Received: 'low'"),
    (PLAIN, "sigma_255", 25, r"is not noise-conditioned: leave sigma_255 \(--sigma\) out"),
    *((PLAIN, "threads", value, rf"in \[1, 1024\].*Received: threads={value!r}") for value in (0, 1.5, "2", 10**9)),
    (PLAIN, "card", 3, "Expected card to be a ModelCard or a path. Received: int"),
    *((PLAIN, "color", value, "Expected color to be 'bgr' or 'rgb'. Received: ") for value in ("RGB", None, ["rgb"])),
    (PLAIN, "color", np.zeros(3), "Expected color to be 'bgr' or 'rgb'. Received: "),
    *((CONDITIONED, "strength", value, "Expected strength of at least 0. Received: ") for value in (-1, float("inf"))),
    (CONDITIONED, "strength", 10**400, "Expected strength of at least 0. Received: 10{79}$"),
    *((CONDITIONED, "sigma_255", value, r"in \[0, 75\]. Received: ") for value in (-1, 76, float("nan"))),
    (CONDITIONED, "sigma_255", [25], r"Expected sigma_255 to be a number. Received: \[25\]"),
    ({"blur": True, "multiple": 4}, "tile_pixels", 63, "to be a whole number of at least 64. Received: 63"),
    *((PLAIN, "tile_pixels", value, f"of at least 16. Received: {value!r}") for value in (0, 1e6, True, "all")),
    ({"multiple": 4}, "tile_pixels", 10**6, r"does not say how far it sees \(spatial.halo\): leave tile_pixels out"),
    ({"size_hw": (8, 8)}, "tile_pixels", 10**6, "takes frames of one size: leave tile_pixels out"),
    ({"size_hw": (8, 8), "fit": "tile"}, "tile_pixels", 10**6, "takes frames of one size: leave tile_pixels out"),
]


@pytest.mark.parametrize(("model", "name", "value", "says"), OUT_OF_RANGE, ids=lambda value: str(value)[:40])
def test_settings_out_of_range(make_model, model, name, value, says):
    path = make_model(**model)
    with pytest.raises(UsageError, match=says):
        qf.Denoiser(path, **{name: value})
    if name in ("threads", "card", "tile_pixels"):
        return
    denoise = qf.Denoiser(path)
    before = getattr(denoise, name)
    with pytest.raises(UsageError, match=says) as caught:
        setattr(denoise, name, value)
    assert "\n" not in str(caught.value)
    assert getattr(denoise, name) == before


@pytest.mark.parametrize("level_255", [float("nan"), float("inf"), -5, 9999, "high", [25], b"25"])
def test_levels_of_a_frame_out_of_range(denoiser_file, blur_file, level_255):
    frame = random_frame(8, 8, 3)
    with pytest.raises(UsageError, match=r"^Expected sigma_255 (to be a number|in \[0, 255\])\. Received: .+$"):
        qf.Denoiser(denoiser_file)(frame, sigma_255=level_255)
    with pytest.raises(UsageError, match=r"is not noise-conditioned: leave sigma_255 \(--sigma\) out"):
        qf.Denoiser(blur_file)(frame, sigma_255=20)


def test_settings_that_are_changed_take_effect(denoiser_file):
    frame = np.full((8, 8, 3), 100, np.uint8)
    denoise = qf.Denoiser(denoiser_file)
    for sigma_255, strength, level in ((20, 1, 20), (20, 2, 40), (10, 0.5, 5)):
        denoise.sigma_255, denoise.strength = sigma_255, strength
        assert added(denoise(frame), frame) == level
    denoise.sigma_255 = None
    assert denoise.estimates


# --- channels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["BGR", "RGB", "GRAY"])
def test_rgb_frames_come_back_as_rgb(make_model, colour):
    path = make_model(colour=colour, blur=True)
    frame = random_frame(24, 32, 3)
    expected = qf.Denoiser(path, luma_strength=0.4)(frame[..., ::-1])[..., ::-1]
    assert np.array_equal(qf.Denoiser(path, luma_strength=0.4, color="rgb")(frame), expected)
    gray = random_frame(9, 7)
    assert np.array_equal(qf.Denoiser(path, color="rgb")(gray), qf.Denoiser(path)(gray))


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("model", [{"multiple": 4}, {"colour": "GRAY"}, {"size_hw": (8, 8)}], ids=str)
def test_alpha_is_kept(make_model, model, color):
    denoise = qf.Denoiser(make_model(blur=True, **model), color=color)
    frame = random_frame(22, 26, 4)
    clean = denoise(frame)
    assert clean.shape == frame.shape
    assert np.array_equal(clean[..., 3], frame[..., 3])
    assert np.array_equal(clean[..., :3], denoise(frame[..., :3]))
    denoise.strength = 0
    assert np.array_equal(denoise(frame), frame)


# --- what is no frame ---------------------------------------------------------------------------------------------

NO_FRAMES = [
    (None, "NoneType"),
    ([[1, 2], [3, 4]], "list"),
    (Path("photo.jpg"), "Path"),
    (np.zeros((4, 4, 3), np.float32), r"float32 of shape \(4, 4, 3\)"),
    (np.zeros((4, 4), bool), "bool"),
    (np.zeros((4, 4, 5), np.uint8), r"uint8 of shape \(4, 4, 5\)"),
    (np.zeros((4, 4, 1), np.uint8), r"\(4, 4, 1\)"),
    (np.zeros((3, 40, 40), np.uint8), r"\(3, 40, 40\)"),
    (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\)"),
    (np.uint8(3), r"\(\)"),
    (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
]


@pytest.mark.parametrize(("frame", "came"), NO_FRAMES, ids=[came for _, came in NO_FRAMES])
def test_what_is_no_frame_is_said(denoiser_file, frame, came):
    with pytest.raises(FrameError, match=rf"Expected a uint8 array of shape \(H, W, 3\).* Received: .*{came}"):
        qf.Denoiser(denoiser_file)(frame)


# --- models that do not fit ---------------------------------------------------------------------------------------


def test_models_that_do_not_denoise(make_model):
    with pytest.raises(ModelLoadError, match="carries no model card: "):
        qf.Denoiser(make_model(carries_card=False))
    with pytest.raises(ModelLoadError, match="cannot denoise, it is a model to classify"):
        qf.Denoiser(make_model(task="classify", colour="GRAY"))


@pytest.mark.parametrize(
    ("file", "card", "says"),
    [
        ({"colour": "GRAY"}, {}, r"input 'image' has shape \[1, None, None, 1\], which is not the card's NHWC \[1,"),
        ({"layout": "NCHW"}, {}, r"input 'image' has shape \[1, 3, None, None\]"),
        ({"size_hw": (8, 8)}, {"size_hw": (8, 12)}, r"\[1, 8, 8, 3\], which is not the card's NHWC \[1, 8, 12, 3\]"),
        ({"sigma": True}, {}, "the card does not say what input 'sigma' is"),
        ({}, {"sigma": True}, "the card names input 'sigma', the file has image"),
        ({"task": "classify", "colour": "GRAY"}, {"colour": "GRAY"}, "the card names output 'denoised'"),
    ],
)
def test_cards_that_do_not_fit_the_file(make_model, tiny_models, file, card, says):
    with pytest.raises(ModelLoadError, match=says):
        qf.Denoiser(make_model(**file), card=tiny_models.TinyModel(**card).card())


def test_a_card_may_lie_beside_a_file_or_be_given_as_an_object_or_a_file(make_model, tmp_path):
    model, other = make_model("mine", blur=True, carries_card=False), make_model("other", blur=True)
    card = qf.Denoiser(other).card
    (stated := tmp_path / "stated.json").write_text(card.to_json(), encoding="utf-8")
    for given_card in (card, stated, str(stated)):
        assert qf.Denoiser(model, card=given_card).card == card
    for path, text in ((model, card.to_json()), (other, "{}")):
        path.with_suffix(".card.json").write_text(text, encoding="utf-8")
        assert qf.Denoiser(path).card == card, "the one inside goes first"


def test_a_model_that_changes_the_size_is_no_denoiser(make_model, tiny_models):
    class Half:
        """An engine whose model gives every second pixel."""

        def __init__(self, engine: Any) -> None:
            self.inputs, self.outputs, self.card_json = engine.inputs, engine.outputs, engine.card_json

        def run(self, inputs: Any) -> Any:
            return {"denoised": inputs["image"][:, ::2, ::2]}

    denoise = qf.Denoiser(Half(qf.Denoiser(make_model(dtype="uint8")).engine))
    with pytest.raises(ModelLoadError, match=r"the model made \(4, 4\) pixels of \(8, 8\): a denoiser keeps the size"):
        denoise(random_frame(8, 8, 3))


@pytest.mark.parametrize("model", [None, 7, b"camera", ["camera"]])
def test_models_of_another_type(model):
    with pytest.raises(UsageError, match=r"Expected model to be a name, a path or an engine\. Received: "):
        qf.Denoiser(model)


def test_upper_case_suffixes_and_unicode_names(make_model, tmp_path):
    renamed = make_model().rename(tmp_path / "модель 相机.TFLITE")
    assert_close(qf.Denoiser(renamed)(random_frame(3, 3)), random_frame(3, 3), 0)


# --- the parts and their use --------------------------------------------------------------------------------------


def test_what_the_engine_gave_is_left_as_it_is():
    denoise = qf.Denoiser("camera-nano", threads=1, luma_strength=0.5)
    run, results = denoise.engine.run, []

    def recorded(inputs: Any) -> Any:
        results.append((given := run(inputs), given["denoised"].copy()))
        return given

    denoise.engine.run = recorded  # type: ignore[method-assign]
    denoise(random_frame(32, 48, 3))
    assert all(np.array_equal(given["denoised"], before) for given, before in results)


def test_prepare_gives_what_a_call_runs(level_adder):
    denoise = qf.Denoiser(level_adder, tile_pixels=256)
    frame = add_gaussian(np.full((61, 93, 3), 90, np.uint8), 10, np.random.default_rng(0))
    run, ran = denoise.engine.run, []
    denoise.engine.run = lambda inputs: ran.append(inputs) or run(inputs)  # type: ignore[method-assign, func-returns-value]
    denoise(frame)
    prepared = list(denoise.prepare(frame))
    assert len(prepared) == len(ran) > 20
    assert all(np.array_equal(a[name], b[name]) for a, b in zip(prepared, ran, strict=True) for name in a)


def test_a_frame_that_fits_reaches_the_engine_without_a_copy(make_model):
    frame = random_frame(16, 16, 3)
    (inputs,) = qf.Denoiser(make_model(dtype="uint8", multiple=8)).prepare(frame)
    assert np.shares_memory(inputs["image"], frame)


def test_threads_may_share_a_denoiser(make_model, suffix):
    denoise = qf.Denoiser(make_model(suffix=suffix, dtype="uint8", multiple=2, sigma=True), sigma_255=5)

    def work(seed: int) -> list[int]:
        frames = [random_frame(size, size + seed, 3, seed=seed) // 2 for size in (9, 12, 17, 12)]
        return [added(denoise(frame), frame) for frame in frames]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [[5] * 4] * 4

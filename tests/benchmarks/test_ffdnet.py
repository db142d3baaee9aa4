from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="FFDNet's files need the extra 'export'")

from quietframe import Denoiser  # noqa: E402
from quietframe.errors import SourceError, UsageError  # noqa: E402
from quietframe_bench import ffdnet  # noqa: E402
from quietframe_bench.ffdnet import build, make_file, read_weights  # noqa: E402
from quietframe_bench.judging import Condition, judge_entries, new_entry  # noqa: E402
from quietframe_bench.rows import Run  # noqa: E402
from quietframe_bench.samples import image_samples  # noqa: E402

DATA = Path(os.environ.get("QUIETFRAME_DATA", "nowhere"))


def arrays(channels: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A network of three layers that gives its input, slightly disturbed, so that quantization has sensible ranges."""
    rng = np.random.default_rng(seed)
    planes = 4 * channels
    shapes = [(3, 3, planes + 1, 16), (3, 3, 16, 16), (3, 3, 16, planes)]
    found = {}
    for index, shape in enumerate(shapes):
        kernel = rng.normal(0, 0.02, shape)
        for channel in range(min(shape[2], shape[3], planes)):
            kernel[1, 1, channel, channel] += 1
        found |= {f"w{index}": kernel.astype(np.float32), f"b{index}": rng.normal(0, 0.01, shape[3]).astype(np.float32)}
    return found


def forward(weights: dict[str, np.ndarray], picture: np.ndarray, sigma: float) -> np.ndarray:
    """FFDNet as published, in NumPy: picture (H, W, 3) RGB or (H, W, 1) on [0, 1], sub-images in MATLAB's order."""
    blocks = [
        picture[row::2, column::2, colour]
        for colour in range(picture.shape[2])
        for column in range(2)
        for row in range(2)
    ]
    x = np.stack([*blocks, np.full_like(blocks[0], sigma)], axis=2)
    count = len(weights) // 2
    for index in range(count):
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
        x = np.einsum("hwiyx,yxio->hwo", windows, weights[f"w{index}"]) + weights[f"b{index}"]
        x = x if index == count - 1 else np.maximum(x, 0)
    result = np.empty_like(picture)
    for number, plane in enumerate(np.moveaxis(x, 2, 0)):
        colour, place = divmod(number, 4)
        result[place % 2 :: 2, place // 2 :: 2, colour] = plane
    return result


@pytest.fixture
def weights_folder(tmp_path):
    """Small weights under the names of the published ones, for colour and for gray."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for colour, channels in (("BGR", 3), ("GRAY", 1)):
        np.savez(folder / ffdnet.WEIGHTS[colour], **arrays(channels))
    return folder


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_computes_what_was_published(channels, tmp_path):
    np.savez(tmp_path / "w.npz", **arrays(channels))
    weights = read_weights(tmp_path / "w.npz")
    model = build(weights)
    picture = np.random.default_rng(1).random((12, 16, channels))
    result = np.asarray(model([picture[None], np.full((1, 1, 1, 1), 0.1)]))[0]
    expected = forward(arrays(channels), picture[..., ::-1], 0.1)[..., ::-1]
    assert result == pytest.approx(expected, abs=1e-5)  # the border too, where the map of the level ends
    assert weights.channels == channels


def test_the_noise_level_reaches_it(tmp_path):
    np.savez(tmp_path / "w.npz", **arrays(3))
    model = build(read_weights(tmp_path / "w.npz"))
    picture = np.full((1, 8, 8, 3), 0.5)
    low, high = (np.asarray(model([picture, np.full((1, 1, 1, 1), sigma)])) for sigma in (0.0, 0.2))
    assert np.abs(low - high).max() > 1e-3


@pytest.mark.parametrize("colour", ["BGR", "GRAY"])
def test_files_do_what_the_network_does_at_any_size(colour, weights_folder, picture_folder, tmp_path):
    shape = (31, 45, 3) if colour == "BGR" else (31, 45)
    frame = np.random.default_rng(2).integers(30, 220, shape).astype(np.uint8)
    even = np.pad(frame, ((0, 1), (0, 1), (0, 0))[: frame.ndim], mode="reflect").reshape(32, 46, -1)
    exact = forward(arrays(even.shape[2]), even[..., ::-1] / 255, 20 / 255)[:31, :45, ::-1].reshape(shape)
    expected = np.clip(np.rint(exact * 255), 0, 255)
    for precision, most in (("fp32", 1), ("int8", 12)):
        file = make_file(weights_folder, colour, precision, tmp_path / "made", calibrate=picture_folder)
        denoise = Denoiser(file, sigma_255=20)
        assert np.abs(denoise(frame) - expected).max() <= most
        card = denoise.card
        assert (card.precision, card.conditioning) == (precision, "sigma")
        assert (card.spatial.multiple, card.spatial.halo) == (2, 7)
        assert card.parameters == sum(array.size for array in arrays(even.shape[2]).values())
        assert card.macs_per_pixel == sum(array.size for array in arrays(even.shape[2]).values() if array.ndim == 4) / 4
        assert "FFDNet" in card.license
    assert denoise.engine.inputs["image"].declared.dtype == np.int8


def test_files_are_made_once_for_the_same_weights_and_pictures(weights_folder, picture_folder, tmp_path):
    def made(precision="fp32", calibrate=None):
        return make_file(weights_folder, "BGR", precision, tmp_path / "made", calibrate=calibrate).stat().st_mtime_ns

    first = made()
    assert made() == made(calibrate=picture_folder) == first  # pictures do not change it
    np.savez(weights_folder / ffdnet.WEIGHTS["BGR"], **arrays(3, seed=1))
    assert made() != first
    int8 = made("int8", picture_folder)
    assert made("int8", picture_folder) == int8
    (picture_folder / "a.png").unlink()
    assert made("int8", picture_folder) != int8


def test_int8_without_pictures_to_calibrate_with_is_an_error(weights_folder, tmp_path):
    with pytest.raises(UsageError, match="calibration frames"):
        make_file(weights_folder, "BGR", "int8", tmp_path / "made")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"no archive", "expected a NumPy archive"),
        ({"w0": np.zeros((3, 3, 13, 96))}, "b0 is not a file in the archive"),
        ({"w0": np.zeros((3, 3, 15, 8)), "b0": np.zeros(8)}, "not the weights of an FFDNet"),
        (arrays(3) | {"w1": np.zeros((3, 3, 16, 8))}, "not the weights of an FFDNet"),
        (arrays(3) | {"b2": np.zeros(11)}, "not the weights of an FFDNet"),
    ],
)
def test_what_is_not_ffdnets_weights_is_an_error_of_one_line(content, says, tmp_path):
    path = tmp_path / "w.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(SourceError, match=says) as raised:
        read_weights(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


# PSNR of the first picture of CBSD68 with the level known, from another implementation: the published order
# of channels in NumPy, tf.nn.conv2d layer by layer.
KNOWN = {15: 31.0732, 25: 28.1691, 50: 24.8925}


@pytest.mark.skipif(
    not (DATA / "peers").is_dir() or not (DATA / "cbsd68").is_dir(),
    reason="QUIETFRAME_DATA does not name a folder with cbsd68 and peers",
)
def test_the_published_weights_give_the_published_quality(tmp_path):
    file = make_file(DATA / "peers", "BGR", "fp32", tmp_path)
    run = Run({})
    entries = [new_entry(run, "images", "it", Condition(float(level)), file, given_sigma_255=level) for level in KNOWN]
    judge_entries(entries, image_samples(DATA / "cbsd68")[:1], measures=("psnr_db",))
    for entry, known in zip(entries, KNOWN.values(), strict=True):
        assert entry.row.psnr_db == pytest.approx(known, abs=0.005)

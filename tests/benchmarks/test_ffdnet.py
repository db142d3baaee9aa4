"""FFDNet's published weights as files that the runtime runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("keras", reason="FFDNet's files need the extra 'export'")

from quietframe import Denoiser
from quietframe.errors import SourceError
from quietframe.images import read_image
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from support.programs import load_program

ffdnet = load_program("docs/research/ffdnet.py")
build, read_weights = ffdnet.build, ffdnet.read_weights

DATA = Path(os.environ.get("QUIETFRAME_DATA", "nowhere"))


def make_files(weights: Path, folder: Path, out: Path, to: str) -> None:
    """Run the program."""
    done = CliRunner().invoke(ffdnet.main, [str(weights), "--calibrate", str(folder), "-o", str(out), "--to", to])
    assert done.exit_code == 0, done.output


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


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_computes_what_was_published(channels, tmp_path):
    np.savez(tmp_path / "w.npz", **arrays(channels))
    weights = read_weights(tmp_path / "w.npz")
    model = build(weights)
    picture = np.random.default_rng(1).random((12, 16, channels))
    for sigma in (0.0, 0.1):
        result = np.asarray(model([picture[None], np.full((1, 6, 8, 1), sigma)]))[0]
        expected = forward(arrays(channels), picture[..., ::-1], sigma)[..., ::-1]
        assert result == pytest.approx(expected, abs=1e-5)  # the border too, where the map of the level ends
    assert weights.channels == channels


@pytest.mark.long
@pytest.mark.parametrize("channels", [1, 3])
def test_files_do_what_the_network_does_at_any_size(channels, picture_folder, tmp_path):
    np.savez(tmp_path / "w.npz", **arrays(channels))
    make_files(tmp_path / "w.npz", picture_folder, tmp_path, "onnx-fp32,tflite-int8")
    shape = (31, 45, 3) if channels == 3 else (31, 45)
    frame = np.random.default_rng(2).integers(30, 220, shape).astype(np.uint8)
    even = np.pad(frame, ((0, 1), (0, 1), (0, 0))[: frame.ndim], mode="reflect").reshape(32, 46, -1)
    exact = forward(arrays(channels), even[..., ::-1] / 255, 20 / 255)[:31, :45, ::-1].reshape(shape)
    expected = np.clip(np.rint(exact * 255), 0, 255)
    name = "ffdnet-color-clip" if channels == 3 else "ffdnet-gray"
    for suffix, most in (("fp32.onnx", 1), ("int8.tflite", 12)):
        denoise = Denoiser(tmp_path / f"{name}.{suffix}", sigma_255=20)
        assert np.abs(denoise(frame) - expected).max() <= most
        card = denoise.card
        assert (card.precision, card.conditioning) == (suffix.partition(".")[0], "sigma")
        assert (card.spatial.multiple, card.spatial.halo) == (2, 7)
        assert card.parameters == sum(array.size for array in arrays(channels).values())
        assert card.macs_per_pixel == sum(array.size for array in arrays(channels).values() if array.ndim == 4) / 4
        assert "FFDNet" in card.license


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
@pytest.mark.long
def test_the_published_weights_give_the_published_quality(picture_folder, tmp_path):
    make_files(DATA / "peers" / "ffdnet_color_clip.npz", picture_folder, tmp_path, "onnx-fp32")
    clean = read_image(min((DATA / "cbsd68").glob("*.png"))).pixels
    for level, known in KNOWN.items():
        noisy = add_gaussian(clean, level, np.random.default_rng([0, 0, level * 1000]))
        denoise = Denoiser(tmp_path / "ffdnet-color-clip.fp32.onnx", sigma_255=level)
        assert psnr_db(clean, denoise(noisy)) == pytest.approx(known, abs=0.005)

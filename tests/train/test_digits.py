import types

import numpy as np
import pytest

from quietframe.card import DataTerms
from quietframe.errors import SourceError, UsageError
from quietframe_train.recipes import RECIPES

DIGITS = RECIPES["digit-classifier"]  # a tenth of the training images validates


def load(path, *, seed=1, **options):
    return DIGITS.data.load(path, DIGITS, seed=seed, **options)


def saved(path, mnist_npz, **changes):
    with np.load(mnist_npz) as file:
        arrays = dict(file) | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_validation_comes_out_of_the_training_images_and_nothing_is_lost(mnist_npz):
    splits = load(mnist_npz)
    with np.load(mnist_npz) as file:
        known, test = file["x_train"], file["x_test"]
    assert (len(splits.training), len(splits.validation), len(splits.test)) == (576, 64, 100)
    assert splits.terms is None, "those of MNIST are MNIST's alone"
    scaled = splits.training.scaled()
    assert (scaled.dtype, scaled.min(), scaled.max()) == (np.float32, 0, 1)
    assert np.array_equal(splits.test.images[..., 0], test)
    together = np.concatenate([splits.training.images, splits.validation.images])
    assert sorted(image.tobytes() for image in together) == sorted(image.tobytes() for image in known)


def test_labels_stay_with_their_images(mnist_npz):
    splits = load(mnist_npz)
    with np.load(mnist_npz) as file:
        label_of = {image.tobytes(): label for image, label in zip(file["x_train"], file["y_train"], strict=True)}
    for part in (splits.training, splits.validation):
        assert part.images.shape[1:] == (28, 28, 1)
        assert [label_of[image.tobytes()] for image in part.images] == part.labels.tolist()


def test_the_split_repeats_with_the_seed_and_only_with_it(mnist_npz):
    one, again, other = load(mnist_npz), load(mnist_npz.parent), load(mnist_npz, seed=2)
    assert np.array_equal(one.validation.images, again.validation.images)
    assert np.array_equal(one.training.images, again.training.images)
    assert not np.array_equal(one.validation.images, other.validation.images)


@pytest.mark.parametrize(("limit", "sizes"), [(2, (1, 1)), (50, (45, 5)), (10_000, (576, 64))])
def test_limit_counts_the_images_for_validation_too(mnist_npz, limit, sizes):
    splits = load(mnist_npz, limit=limit)
    assert (len(splits.training), len(splits.validation), len(splits.test)) == (*sizes, 100)


def test_a_limit_of_one_leaves_nothing_to_validate(mnist_npz):
    with pytest.raises(UsageError, match="limit is 1, at least 2"):
        load(mnist_npz, limit=1)


def test_real_mnist_is_known_by_its_content(real_data, tmp_path):
    splits = load(real_data / "mnist.npz")
    assert splits.terms == DataTerms("MNIST", "Y. LeCun et al., CC BY-SA 3.0")
    assert (len(splits.training), len(splits.validation), len(splits.test)) == (54_000, 6_000, 10_000)
    with np.load(real_data / "mnist.npz") as file:
        arrays = dict(file)
    arrays["x_train"][0, 0, 0] ^= 1
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert load(tmp_path).terms is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None, "y_test": None}, "has no array x_test, y_test"),
        ({"x_train": np.zeros((640, 28, 28), np.float32)}, "x_train is float32 .* expected uint8 of shape"),
        ({"x_train": np.zeros((640, 32, 32), np.uint8)}, r"x_train is uint8 of shape \(640, 32, 32\)"),
        ({"x_test": np.zeros((0, 28, 28), np.uint8)}, r"x_test is uint8 of shape \(0, 28, 28\)"),
        (
            {"y_train": np.zeros(639, np.uint8)},
            r"y_train is uint8 of shape \(639,\), expected integers of shape \(640,\)",
        ),
        ({"y_test": np.zeros(100)}, "y_test is float64"),
        ({"y_test": np.full(100, 10)}, "y_test holds classes 10 to 10, expected 0 to 9"),
        ({"y_train": np.array([None] * 640)}, "not an .npz file that can be read"),
    ],
)
def test_files_of_another_layout_are_refused_by_what_is_wrong(tmp_path, mnist_npz, changes, message):
    with pytest.raises(SourceError, match=message):
        load(saved(tmp_path / "mnist.npz", mnist_npz, **changes))


def test_files_that_are_no_npz_are_refused(tmp_path, mnist_npz):
    whole = mnist_npz.read_bytes()
    broken = bytearray(whole)
    broken[2000:2400] = bytes(400)
    np.save(tmp_path / "array.npy", np.zeros(3))
    contents = {"text": b"not an archive", "empty": b"", "cut": whole[:-400], "flipped": bytes(broken)}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    for name in contents:
        with pytest.raises(SourceError, match=f"{name}: not an .npz file that can be read"):
            load(tmp_path / name)
    with pytest.raises(SourceError, match="a single array"):
        load(tmp_path / "array.npy")
    with pytest.raises(SourceError, match=r"mnist.npz: no such file"):
        load(tmp_path)


def test_one_training_image_is_too_few(tmp_path, mnist_npz):
    path = saved(
        tmp_path / "mnist.npz", mnist_npz, x_train=np.zeros((1, 28, 28), np.uint8), y_train=np.zeros(1, np.uint8)
    )
    with pytest.raises(SourceError, match="1 training images, at least 2"):
        load(path)


def test_without_a_path_keras_fetches_mnist(monkeypatch, mnist_npz, capsys):
    keras = pytest.importorskip("keras")

    def load_data():
        print("Downloading data")  # as Keras does
        with np.load(mnist_npz) as file:
            return (file["x_train"], file["y_train"]), (file["x_test"], file["y_test"])

    monkeypatch.setattr(keras.datasets, "mnist", types.SimpleNamespace(load_data=load_data))
    assert len(load(None).training) == 576
    out, err = capsys.readouterr()
    assert (out, err) == ("", "Downloading data\n"), "stdout belongs to results"


def test_a_failed_download_says_what_to_do(monkeypatch):
    keras = pytest.importorskip("keras")

    def load_data():
        raise Exception("URL fetch failure on https://storage.googleapis.com: no network")  # what Keras raises

    monkeypatch.setattr(keras.datasets, "mnist", types.SimpleNamespace(load_data=load_data))
    with pytest.raises(SourceError, match=r"MNIST could not be downloaded .*no network.*pass it as --data"):
        load(None)

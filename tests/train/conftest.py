"""Small data for the training tests: drawn digits in MNIST's layout, and drawn photographs."""

import signal
from pathlib import Path

import cv2
import numpy as np
import pytest


def drawn_digits(count, rng):
    """ImageSet in OpenCV's fonts, moved, scaled and turned at random: (count, 28, 28) uint8 and their classes."""
    images, labels = np.zeros((count, 28, 28), np.uint8), rng.integers(10, size=count).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX]))
        cv2.putText(image, str(label), (6, 22), font, rng.uniform(0.6, 0.8), 255, int(rng.integers(1, 3)), cv2.LINE_AA)
        turn = cv2.getRotationMatrix2D((14, 14), rng.uniform(-12, 12), 1.0)
        turn[:, 2] += rng.uniform(-2, 2, 2)
        image[:] = cv2.warpAffine(image, turn, (28, 28))
    return images, labels


def drawn_photo(rng, height=112, width=130):
    """A picture with smooth shades and sharp edges: (height, width, 3) uint8."""
    small = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    photo = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(photo, centre, int(rng.integers(4, 25)), rng.integers(0, 256, 3).tolist(), -1, cv2.LINE_AA)
    return photo


@pytest.fixture(scope="session")
def mnist_npz(tmp_path_factory) -> Path:
    """640 training and 100 test digits in a file of MNIST's layout."""
    rng = np.random.default_rng(7)
    (x_train, y_train), (x_test, y_test) = drawn_digits(640, rng), drawn_digits(100, rng)
    path = tmp_path_factory.mktemp("digits") / "mnist.npz"
    np.savez_compressed(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory) -> Path:
    """Six photographs, two of them in a folder below."""
    rng = np.random.default_rng(8)
    folder = tmp_path_factory.mktemp("photos")
    (folder / "below").mkdir()
    for index in range(6):
        path = folder / ("below" if index > 3 else "") / f"{index}.png"
        cv2.imwrite(str(path), drawn_photo(rng, 130 + 8 * index, 140))
    return folder


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory) -> Path:
    """Two classes of twelve pictures each, `dark` and `light`, in sizes of their own."""
    rng = np.random.default_rng(9)
    folder = tmp_path_factory.mktemp("pictures")
    for name, gain in (("dark", 0.4), ("light", 1.0)):
        (folder / name).mkdir()
        for index in range(12):
            photo = drawn_photo(rng, 40 + 2 * index, 64) / 2 + (127 if name == "light" else 0)
            cv2.imwrite(str(folder / name / f"{index:02}.png"), np.rint(gain * photo))
    return folder


@pytest.fixture(scope="session")
def artefacts() -> frozenset[str]:
    """The files of a finished run folder."""
    names = "model.keras recipe.json history.csv metrics.json loss.png samples.png main.weights.h5"
    return frozenset(names.split())


@pytest.fixture
def heeded_signals():
    """Let this process and those that it starts heed signals, whoever runs the tests: nohup and scripts ignore some."""
    from quietframe_train.signals import NUMBERS

    before = {number: signal.getsignal(number) for number in NUMBERS}
    for number in NUMBERS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)

"""What denoisers and classifiers share: `batch`, `with`, `repr`, pickling; and the list of models."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quietframe as qf
from quietframe.errors import FrameError, UsageError
from support.images import random_frame
from support.process import run_python


@pytest.fixture(params=["denoiser", "classifier", "denoise_classifier"])
def task(request: pytest.FixtureRequest) -> Any:
    kind, options = {
        "denoiser": (qf.Denoiser, {"strength": 1.5}),
        "classifier": (qf.Classifier, {}),
        "denoise_classifier": (qf.DenoiseClassifier, {}),
    }[request.param]
    return kind(request.getfixturevalue(f"{request.param}_file"), color="rgb", **options)


def comparable(result: Any) -> Any:
    """A result as something that compares by value."""
    return result.tolist() if isinstance(result, np.ndarray) else (result.label, result.scores, str(vars(result)))


def test_a_batch_gives_what_its_frames_give_one_by_one(task):
    frames = [random_frame(12, 16, 3), random_frame(9, 30), random_frame(28, 28, 4)]
    assert [comparable(result) for result in task.batch(frames)] == [comparable(task(frame)) for frame in frames]
    assert len(task.batch(iter(frames))) == 3
    assert task.batch([]) == []
    for shape in ((3, 8, 8, 3), (2, 8, 8)):
        assert len(task.batch(random_frame(*shape))) == shape[0]


BATCHED = [
    (qf.Denoiser, {"sigma": True, "blur": True}),
    (qf.Denoiser, {"size_hw": (12, 16), "fit": "tile", "blur": True}),
    (qf.Classifier, {"task": "classify", "colour": "GRAY"}),
    (qf.DenoiseClassifier, {"task": "denoise+classify", "colour": "GRAY"}),
]


@pytest.mark.parametrize(("kind", "fields"), BATCHED, ids=["any size", "tiles", "classifier", "both"])
def test_a_file_that_takes_several_images_gives_what_single_ones_give(make_model, suffix, kind, fields):
    single, several = (
        kind(make_model(f"of{batch}", suffix=suffix, layout="NHWC", batch=batch, **fields)) for batch in (1, 3)
    )
    frames = [random_frame(*shape) for shape in [(12, 16, 3)] * 4 + [(20, 31, 3), (9, 30)]]
    runs: list[int] = []
    engine = several.engine

    class Counting:
        inputs, outputs, card_json = engine.inputs, engine.outputs, engine.card_json

        def run(self, inputs: Any) -> Any:
            runs.append(len(inputs["image"]))
            return engine.run(inputs)

    several.engine = Counting()
    expected = [comparable(single(frame)) for frame in frames]
    assert [comparable(result) for result in several.batch(frames)] == expected
    assert len(runs) < len(frames) + 4 * ("fit" in fields) and set(runs) == {3}
    assert [comparable(several(frame)) for frame in frames] == expected


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8, 4), (8, 8)])
def test_a_frame_is_no_batch(task, shape):
    with pytest.raises(FrameError, match=r"Expected several frames\. Received: one of shape \(8, 8"):
        task.batch(random_frame(*shape))


def test_a_closed_model_says_so(task):
    frame = random_frame(28, 28, 3)
    with task as entered:
        assert entered is task
        task(frame)
    assert repr(task).endswith(", closed>")
    for use in (lambda: task(frame), lambda: task.engine):
        with pytest.raises(UsageError, match=r"^<.*, closed>: open the model again to use it$"):
            use()
    task.close()


def test_closing_frees_the_engine(blur_file):
    denoise = qf.Denoiser(blur_file)
    engine = weakref.ref(denoise.engine)
    denoise(random_frame(8, 8, 3))
    denoise.close()
    assert engine() is None


def held() -> tuple[float, int, int]:
    """What this process holds: memory in MB, threads, descriptors."""
    gc.collect()
    of_process = Path("/proc/self")
    (resident,) = re.findall(r"VmRSS:\s+(\d+) kB", (of_process / "status").read_text(encoding="utf-8"))
    return int(resident) / 1024, *(len(list((of_process / part).iterdir())) for part in ("task", "fd"))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read in /proc, which Linux has")
@pytest.mark.parametrize("times", [20, pytest.param(1000, marks=pytest.mark.long)])
def test_models_that_come_and_go_leave_nothing(make_model, suffix, times):
    """No memory, no thread and no open file, whether they are closed or dropped."""
    path, frame = make_model(suffix=suffix, sigma=True), random_frame(64, 64, 3)

    def come_and_go(times: int) -> None:
        for index in range(times):
            denoise = qf.Denoiser(path, threads=2)
            denoise(frame)
            if index % 2:
                denoise.close()

    come_and_go(times // 5)
    before_mb, threads, files = held()
    come_and_go(times)
    after_mb, *others = held()
    print(f"{times} times {suffix}: {after_mb - before_mb:+.1f} MB")
    assert others == [threads, files]
    assert after_mb - before_mb < 8, "of a thousand, less than 8 KB each"


def test_repr_says_what_the_model_is_and_how_it_is_set(make_model, classifier_file):
    denoise = qf.Denoiser(make_model(size_hw=(8, 12), sigma=True), strength=0.5)
    denoise.sigma_255 = 20
    assert repr(denoise) == (
        "<Denoiser tiny-denoise fp32, 12x8 resize, strength=0.5, sigma_255=20.0, luma_strength=1.0, "
        "chroma_strength=1.0, tile_pixels=None, color='bgr', camera=None>"
    )
    assert repr(qf.Classifier(classifier_file)) == "<Classifier tiny-classify fp32, 28x28 resize, color='bgr'>"
    assert ", any size, " in repr(qf.Denoiser("camera-nano"))


@pytest.mark.parametrize("copied", [lambda task: pickle.loads(pickle.dumps(task)), copy.copy, copy.deepcopy])
def test_a_pickled_task_gives_the_same(task, copied):
    frame = random_frame(28, 28, 3)
    again = copied(task)
    assert again.engine is not task.engine
    assert repr(again) == repr(task)
    assert comparable(again(frame)) == comparable(task(frame))


def test_pickling_keeps_settings_cards_and_paths(make_model, tiny_models, tmp_path, monkeypatch):
    """A relative path and a card beside the worker's reach: both must hold in another folder."""
    make_model("mine", blur=True, carries_card=False)
    (tmp_path / "stated.json").write_text(tiny_models.TinyModel(blur=True).card().to_json(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    denoise = qf.Denoiser("mine.tflite", card="stated.json", threads=3, tile_pixels=1000)
    denoise.strength, denoise.chroma_strength = 0.5, 0.25
    pickled = pickle.dumps(denoise)
    (tmp_path / "stated.json").unlink()
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert (again.strength, again.chroma_strength, again.tile_pixels) == (0.5, 0.25, 1000)
    assert again.card == denoise.card


def test_a_built_in_model_is_pickled_by_its_name():
    """Another machine has it in another folder."""
    pickled = pickle.dumps(qf.Denoiser("camera"))
    assert b"camera" in pickled
    assert str(Path(qf.__file__).parent).encode() not in pickled


def test_another_process_can_use_what_was_pickled(denoiser_file, tmp_path):
    (tmp_path / "task.pickle").write_bytes(pickle.dumps(qf.Denoiser(denoiser_file, sigma_255=7)))
    code = """
import pickle, sys, numpy as np
denoise = pickle.load(open(sys.argv[1], "rb"))
print(denoise(np.zeros((4, 4, 3), np.uint8)).max())
"""
    assert run_python("-c", code, tmp_path / "task.pickle").stdout == "7\n"


def test_an_open_engine_cannot_be_pickled(denoiser_file):
    denoise = qf.Denoiser(qf.Denoiser(denoiser_file).engine)
    with pytest.raises(UsageError, match="was made from an open engine: make it from a name or a path to pickle it"):
        pickle.dumps(denoise)


def test_models_gives_the_cards_of_the_built_in_models():
    cards = qf.models()
    assert list(cards) == list(qf.builtin_models())
    assert cards["camera-nano"] == qf.Denoiser("camera-nano").card
    assert {"denoise", "classify"} <= {card.task for card in cards.values()}

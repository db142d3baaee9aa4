"""Video denoisers: what is remembered, moved along, and forgotten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import quietframe as qf
from quietframe.card import CARD_KEY, DataTerms, ModelCard, Spatial, TensorSpec
from quietframe.errors import ModelLoadError, UsageError
from quietframe.noise import add_gaussian
from quietframe.sinks import Sink
from quietframe.tasks.motion import MotionEstimator, warp
from quietframe.tasks.video import MAX_CONFIDENCE, VideoDenoiser
from quietframe.zoo import ALIASES

onnx = pytest.importorskip("onnx", reason="the tiny video models are ONNX files")
pytest.importorskip("onnxruntime", reason="running ONNX models needs onnxruntime")
helper, TensorProto = onnx.helper, onnx.TensorProto

IMAGE = TensorSpec("image", "image", "NHWC", 3, (0.0, 1.0), "BGR")
CARD = ModelCard(
    name="tiny-video",
    task="denoise",
    recipe="tiny",
    precision="fp32",
    inputs=(IMAGE,),
    outputs=(replace(IMAGE, name="denoised"),),
    spatial=Spatial("any", multiple=2, halo=2),
    conditioning="none",
    noise="none",
    data=DataTerms("none", "none"),
    parameters=0,
    macs_per_pixel=9.0,
    license="Apache-2.0",
)


def write(path: Path, nodes: list, card: ModelCard, constants: dict[str, np.ndarray] | None = None) -> Path:
    """Write an ONNX file of float tensors with the names and channels of the card."""

    def infos(specs):
        return [
            helper.make_tensor_value_info(
                spec.name, TensorProto.FLOAT, [1, f"{spec.name}_h", f"{spec.name}_w", spec.channels]
            )
            for spec in specs
        ]

    fixed = [helper.make_tensor(name, TensorProto.FLOAT, v.shape, v) for name, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "tiny", infos(card.inputs), infos(card.outputs), fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def recurrent_file(tmp_path_factory):
    """A third party's model: the mean of the frame and its own last result, which begins with 0.2."""
    state = TensorSpec("last", "state", "NHWC", 3, (0.0, 1.0), start=0.2)
    card = replace(
        CARD,
        inputs=(IMAGE, state),
        outputs=(*CARD.outputs, replace(state, name="next", feeds="last", start=0.0)),
    )
    nodes = [
        helper.make_node("Add", ["image", "last"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["denoised"]),
        helper.make_node("Identity", ["denoised"], ["next"]),
    ]
    path = tmp_path_factory.mktemp("recurrent") / "recurrent.onnx"
    return write(path, nodes, card, {"half": np.float32([0.5])})


@pytest.fixture(scope="module")
def fusing_file(tmp_path_factory):
    """The plain mean of all frames: what was seen before is trusted as far as its confidence says."""
    confidence = TensorSpec("confidence", "confidence", "NHWC", 1, (0.0, 1.0), stride=2)
    card = replace(
        CARD,
        inputs=(IMAGE, TensorSpec("state", "state", "NHWC", 3, (0.0, 1.0), "BGR"), confidence),
        outputs=(*CARD.outputs, replace(confidence, name="weight", role="weight")),
    )
    nodes = [
        helper.make_node("Identity", ["confidence"], ["weight"]),
        helper.make_node("Resize", ["confidence", "", "scales"], ["each"], mode="nearest"),
        helper.make_node("Sub", ["state", "image"], ["difference"]),
        helper.make_node("Mul", ["each", "difference"], ["moved"]),
        helper.make_node("Add", ["image", "moved"], ["denoised"]),
    ]
    path = tmp_path_factory.mktemp("fusing") / "fusing.onnx"
    return write(path, nodes, card, {"scales": np.float32([1, 2, 2, 1])})


def frames(count: int, sigma_255: float = 20, size_hw=(64, 96)) -> tuple[np.ndarray, list[np.ndarray]]:
    """Make a scene, and frames of it with noise of their own."""
    rng = np.random.default_rng(3)
    scene = cv2.GaussianBlur(rng.integers(40, 215, (*size_hw, 3), np.uint8), (0, 0), 3)
    return scene, [add_gaussian(scene, sigma_255, rng) for _ in range(count)]


def test_a_state_goes_from_each_frame_to_the_next(recurrent_file):
    denoise = VideoDenoiser(recurrent_file)
    frame = np.full((6, 8, 3), 100, np.uint8)
    expected = 0.2 * 255
    for _ in range(5):
        expected = (100 + expected) / 2
        assert abs(int(denoise(frame)[0, 0, 0]) - expected) <= 0.51


def test_the_mean_of_a_still_scene_gets_better_and_does_not_drift(fusing_file):
    scene, noisy = frames(120)
    denoise = VideoDenoiser(fusing_file, align=False)
    results = [denoise(frame) for frame in noisy]
    deviations = [float(np.std(result.astype(np.float32) - scene)) for result in results]
    assert deviations[0] == pytest.approx(20, rel=0.05)
    for count in (2, 4, 9, 16):
        assert deviations[count - 1] == pytest.approx(20 / count**0.5, rel=0.08), count
    # From there on it forgets: an exponential mean of that weight.
    weight = MAX_CONFIDENCE
    assert deviations[-1] == pytest.approx(20 * ((1 - weight) / (1 + weight)) ** 0.5, rel=0.12)
    assert abs(float(np.mean(results[-1].astype(np.float32) - scene))) < 0.3
    assert denoise.fused == pytest.approx(weight, abs=0.005)


def test_the_first_frame_has_no_past_nor_has_one_after_a_reset(fusing_file):
    _, noisy = frames(3)
    denoise = VideoDenoiser(fusing_file)
    assert np.array_equal(denoise(noisy[0]), noisy[0])
    assert not np.array_equal(denoise(noisy[1]), noisy[1])
    denoise.reset()
    assert np.array_equal(denoise(noisy[2]), noisy[2])


@pytest.mark.parametrize("other", ["size", "gray", "cut"])
def test_another_size_kind_or_scene_begins_anew(fusing_file, other):
    _, noisy = frames(3)
    frame = {
        "size": noisy[2][:-2, :-3],
        "gray": cv2.cvtColor(noisy[2], cv2.COLOR_BGR2GRAY),
        "cut": 255 - noisy[2] // 2,
    }[other]
    denoise = VideoDenoiser(fusing_file)
    for before in noisy:
        denoise(before)
    assert np.array_equal(denoise(np.ascontiguousarray(frame)), frame)


def test_levels_may_be_a_map(tmp_path):
    """Of a model that remembers, too, and from the second frame on."""
    confidence = TensorSpec("confidence", "confidence", "NHWC", 1, (0.0, 1.0), stride=2)
    state = TensorSpec("state", "state", "NHWC", 3, (0.0, 1.0), "BGR")
    sigma = TensorSpec("sigma", "sigma", "NHWC", 1, (0.0, 0.3), stride=2)
    outputs = (*CARD.outputs, replace(confidence, name="weight", role="weight"))
    card = replace(CARD, inputs=(IMAGE, state, confidence, sigma), outputs=outputs, conditioning="sigma")
    nodes = [
        helper.make_node("Identity", ["image"], ["denoised"]),
        helper.make_node("Sub", ["sigma", "sigma"], ["nothing"]),
        helper.make_node("Add", ["confidence", "nothing"], ["weight"]),
    ]
    denoise = VideoDenoiser(write(tmp_path / "map.onnx", nodes, card))
    _, noisy = frames(3)
    for frame in noisy:
        assert np.array_equal(denoise(frame, sigma_255=np.full(frame.shape[:2], 20, np.float32)), frame)
    assert denoise.fused > 0.5


def test_two_videos_do_not_mix(fusing_file):
    _, noisy = frames(4)
    alone = VideoDenoiser(fusing_file)
    expected = [alone(frame) for frame in noisy]
    one, other = VideoDenoiser(fusing_file), VideoDenoiser(fusing_file)
    for frame, result in zip(noisy, expected, strict=True):
        other(np.full_like(frame, 17))
        assert np.array_equal(one(frame), result)


def test_tiles_give_what_the_whole_frame_gives(fusing_file):
    _, noisy = frames(5, size_hw=(90, 131))
    whole, tiles = VideoDenoiser(fusing_file), VideoDenoiser(fusing_file, tile_pixels=2500)
    for frame in noisy:
        assert np.array_equal(whole(frame), tiles(frame))


def test_threads_may_share_a_video(recurrent_file):
    """Which of them comes first is left to them: each call is one frame of the video."""
    frame = np.full((6, 8, 3), 250, np.uint8)
    alone, shared = VideoDenoiser(recurrent_file), VideoDenoiser(recurrent_file)
    expected = [int(alone(frame)[0, 0, 0]) for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        results = [int(clean[0, 0, 0]) for clean in pool.map(shared, [frame] * 40)]
    assert sorted(results) == expected
    assert len(set(expected)) > 5


def test_a_frame_too_long_to_be_moved_is_denoised(fusing_file):
    denoise = VideoDenoiser(fusing_file)
    blocks = np.random.default_rng(0).integers(40, 215, (3, 2050), np.uint8).repeat(16, 0).repeat(16, 1)
    for step in (0, 6):
        frame = blocks[:, step : step + 32_768]
        assert denoise(frame).shape == frame.shape


@pytest.mark.parametrize(
    "size_hw", [(1, 1), (1, 7), (8, 8), (15, 47), (16, 16), (31, 33), (47, 48), (47, 200), (61, 47)]
)
@pytest.mark.parametrize("shape", [(), (3,), (4,)])
def test_frames_of_any_size_follow_each_other(size_hw, shape):
    denoise, rng = VideoDenoiser("video-nano", threads=1), np.random.default_rng(0)
    for _ in range(3):
        frame = rng.integers(0, 256, (*size_hw, *shape), dtype=np.uint8)
        assert denoise(frame).shape == frame.shape


@pytest.mark.parametrize("harm", ["fails", "prepared", "drawn on", "no frame", "other prepared", "no frame's type"])
def test_a_frame_that_is_not_done_and_what_a_caller_does_change_nothing(harm):
    scene = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    frames = [add_gaussian(scene[:, 3 * at : 3 * at + 200].copy(), 15, np.random.default_rng(at)) for at in range(8)]
    plain, other = VideoDenoiser("video-nano", threads=1), VideoDenoiser("video-nano", threads=1)
    for frame in frames:
        if harm == "fails":
            run = other.engine.run
            other.engine.run = lambda inputs: 1 / 0
            with pytest.raises(ZeroDivisionError):
                other(frame)
            other.engine.run = run
        elif harm == "prepared":
            list(other.prepare(frame))
        elif harm == "other prepared":
            list(other.prepare(frame[:80, :90]))
        elif harm.startswith("no frame"):
            with pytest.raises(qf.FrameError):
                other(None if harm == "no frame" else frame[:-1].astype(float))
        expected, result = plain(frame), other(frame)
        assert np.array_equal(expected, result)
        if harm == "drawn on":
            result[:] = 255 - result
    assert other.fused == plain.fused > 0.1
    other.reset()
    assert other.fused is None


def test_what_moves_is_followed(fusing_file):
    """A scene that moves by three pixels a frame is averaged as one that stands still, and blurred without."""
    scene, _ = frames(1, size_hw=(96, 240))
    rng = np.random.default_rng(4)
    clean = [np.ascontiguousarray(scene[:, 3 * index : 3 * index + 160]) for index in range(20)]
    errors = {}
    for align in (True, False):
        denoise = VideoDenoiser(fusing_file, align=align, sigma_255=None)
        results = [denoise(add_gaussian(frame, 10, rng)) for frame in clean]
        errors[align] = np.std(results[-1][10:-10, :100].astype(np.float32) - clean[-1][10:-10, :100])
    assert errors[True] < 5 < errors[False]


def test_a_still_scene_has_no_motion():
    scene, noisy = frames(6, sigma_255=30, size_hw=(120, 160))
    estimate = MotionEstimator()
    for frame in noisy:
        motion = estimate(frame, scene, 30)
        assert not motion.is_cut
        assert motion.flow is None or float(np.mean(np.abs(motion.flow).max(axis=2) > 0.05)) < 0.1


def test_warp_moves_along_the_flow():
    image = np.arange(30, dtype=np.float32).reshape(5, 6)
    moved = warp(image, np.broadcast_to(np.float32([1, 0]), (5, 6, 2)))
    assert np.array_equal(moved[:, :-1], image[:, 1:])
    assert np.array_equal(moved[:, -1], image[:, -1])


class Collected(Sink):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[np.ndarray] = []
        self.results: list[np.ndarray] = []

    def write(self, frame, pixels):
        self.frames.append(frame.pixels)
        self.results.append(pixels)


def test_a_pipeline_remembers_the_frames_of_a_video_and_not_those_of_a_folder(fusing_file, tmp_path):
    config = qf.PipelineConfig(drop_frames=False)
    video = Collected()
    qf.Pipeline("test:?frames=6", fusing_file, video, config).run()
    alone = VideoDenoiser(fusing_file)
    assert all(np.array_equal(alone(frame), result) for frame, result in zip(video.frames, video.results, strict=True))
    assert np.array_equal(video.frames[0], video.results[0])
    assert not np.array_equal(video.frames[1], video.results[1])
    for index, frame in enumerate(video.frames):
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame)
    folder = Collected()
    qf.Pipeline(tmp_path, fusing_file, folder).run()
    assert len(folder.results) == 6
    assert all(np.array_equal(*pair) for pair in zip(folder.frames, folder.results, strict=True))


def test_a_pipeline_may_take_frames_one_by_one(fusing_file):
    """As images: with `single_frame` nothing of the frames before is used, whatever the model."""
    video = Collected()
    pipeline = qf.Pipeline("test:?frames=4", fusing_file, video, qf.PipelineConfig(single_frame=True))
    pipeline.run()
    assert all(np.array_equal(*pair) for pair in zip(video.frames, video.results, strict=True))
    assert pipeline.record()["fused"] == 0


@pytest.mark.parametrize(
    ("source", "single_frame", "model"),
    [
        ("test:?frames=2", False, "video"),
        ("test:?frames=2", True, "camera"),
        ("image", False, "camera"),
    ],
)
def test_what_comes_in_order_is_denoised_as_video(tmp_path, source, single_frame, model):
    if source == "image":
        source = tmp_path / "noisy.png"
        cv2.imwrite(str(source), np.full((32, 48, 3), 99, np.uint8))
    pipeline = qf.Pipeline(source, sinks=Collected(), config=qf.PipelineConfig(single_frame=single_frame))
    assert pipeline.run().model == ALIASES[model]
    assert (pipeline.record()["fused"] is None) == (model == "camera")


def test_auto_takes_the_best_model_for_images_that_may_be_used_commercially_and_measures_none(tmp_path, caplog):
    cv2.imwrite(str(tmp_path / "noisy.png"), np.full((32, 48, 3), 99, np.uint8))
    model = qf.Pipeline(tmp_path / "noisy.png", "auto", tmp_path / "clean.png").run().model
    cards = qf.models()
    free = {name: card.macs_per_pixel for name, card in cards.items() if "non-commercial" not in card.license}
    assert model == max((name for name in free if name.startswith("camera-")), key=free.__getitem__)
    assert "fps" not in caplog.text


def test_numbers_that_are_not_finite_are_no_image(tmp_path):
    path = write(
        tmp_path / "nan.onnx",
        [helper.make_node("Div", ["image", "zero"], ["denoised"])],
        CARD,
        {"zero": np.float32([0])},
    )
    frame = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ModelLoadError, match="holds NaN or infinity"):
        qf.Denoiser(path)(frame)
    cv2.imwrite(str(tmp_path / "noisy.png"), frame)
    with pytest.raises(ModelLoadError, match="holds NaN or infinity"):
        qf.Pipeline(tmp_path / "noisy.png", path, tmp_path / "clean.png").run()
    assert not (tmp_path / "clean.png").exists()


def test_a_model_is_opened_by_what_it_is(fusing_file):
    with pytest.raises(ModelLoadError, match="use VideoDenoiser"):
        qf.Denoiser(fusing_file)
    with pytest.raises(ModelLoadError, match="takes single frames"):
        VideoDenoiser("camera-nano")
    with pytest.raises(UsageError, match="align"):
        VideoDenoiser(fusing_file, align="flow")


@pytest.mark.parametrize(
    ("outputs", "wrong"),
    [((), "states feed"), ((TensorSpec("next", "state", "NHWC", 3, (0, 1), feeds="lost"),), "states feed")],
    ids=["nothing feeds it", "feeds another"],
)
def test_a_state_without_an_output_that_feeds_it_is_refused(outputs, wrong):
    state = TensorSpec("last", "state", "NHWC", 3, (0.0, 1.0))
    with pytest.raises(UsageError, match=wrong):
        replace(CARD, inputs=(IMAGE, state), outputs=(*CARD.outputs, *outputs))

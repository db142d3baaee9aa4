"""A video model becomes files that remember as Keras does."""

from dataclasses import replace

import numpy as np
import pytest

from quietframe.card import DataTerms, ModelCard
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe.tasks import VideoDenoiser
from quietframe_export.exporter import export_model
from quietframe_export.formats import parse_targets
from quietframe_export.keras_engine import KerasEngine
from quietframe_export.subject import Subject, encode
from quietframe_train.clips import ClipNoise
from quietframe_train.data.base import Sample
from quietframe_train.recipe import ModelConfig
from quietframe_train.recipes import RECIPES
from quietframe_train.trainer import build_model


@pytest.fixture(scope="module")
def clip():
    """A still scene, and noisy frames of it."""
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(40, 215, (12, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return scene, [add_gaussian(scene, 20, rng) for _ in range(6)]


@pytest.fixture(scope="module")
def subject(clip):
    options = {"widths": (16, 16), "encoder_convs": (1, 1), "decoder_convs": (1,), "last_kernel": 1, "trust_width": 16}
    recipe = replace(RECIPES["video-nano"], model=ModelConfig("video_unet", options))
    model = build_model(recipe)
    fields = dict(recipe.data.card_fields(recipe, model))
    states = fields.pop("states")
    card = ModelCard(
        name="tiny-video",
        task="denoise",
        recipe=recipe.name,
        precision="fp32",
        outputs=(replace(fields["inputs"][0], name="denoised"), *states),
        **fields,
        noise="",
        data=DataTerms("none", "none"),
        parameters=model.count_params(),
        macs_per_pixel=1.0,
        license="Apache-2.0",
    )
    engine, rng, noise = KerasEngine(model, card), np.random.default_rng(1), ClipNoise()
    clips = [noise.clip([clip[0].repeat(3, 0).repeat(3, 1)], 1 + index % 4, rng)[1] for index in range(12)]
    calibration = [encode(engine, card, frame, 20.0, before) for *before, frame in clips]
    held_out = [Sample(clip[1][-1], clip[0], group="still", before=clip[1][:-1])]
    return Subject(engine, card, calibration, held_out, "clips", "a clip")


def test_the_files_remember_as_keras_does(subject, clip, tmp_path):
    targets = parse_targets("tflite-int8,onnx-fp32")
    report = export_model(subject, targets, tmp_path, max_psnr_drop_db=3.0, hold_to_checks=False)
    assert [file.outcome for file in report.files] == ["passed", "passed"], [file.reason for file in report.files]
    assert report.files[0].float_operations == 0
    keras = VideoDenoiser(subject.engine, card=subject.card)
    expected = [keras(frame) for frame in clip[1]]
    gains = [
        psnr_db(clip[0], result) - psnr_db(clip[0], frame) for result, frame in zip(expected, clip[1], strict=True)
    ]
    assert gains[-1] > gains[0] + 2, "an untrained model averages still frames, too"
    for file, least_db in zip(report.files, (34, 50), strict=True):
        denoise = VideoDenoiser(tmp_path / file.file)
        assert denoise.card.has_state
        for frame, result in zip(clip[1], expected, strict=True):
            assert psnr_db(result, denoise(frame)) > least_db
        assert denoise.fused == pytest.approx(keras.fused, abs=0.03)

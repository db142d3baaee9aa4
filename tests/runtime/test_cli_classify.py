"""`quietframe classify`, run as a user runs it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.images import write_image


def bands(path: Path, brightest: int, size: int = 28) -> Path:
    """Write a gray picture of four bands of rows of which one is bright: the tiny classifier names that one."""
    image = np.full((size, size), 20, np.uint8)
    image[brightest * size // 4 : (brightest + 1) * size // 4] = 230
    return write_image(path, image)


def test_a_picture_gives_one_line(tmp_path, cli, classifier_file):
    result = cli("classify", bands(tmp_path / "a digit.png", 2), "-m", classifier_file)
    assert (result.code, result.error_lines) == (0, [])
    (line,) = result.out.splitlines()
    name, label, score = line.split("\t")
    assert (name, label) == ("a digit.png", "third")
    assert 0.9 < float(score) <= 1


def test_several_images_are_classified_though_one_is_damaged(tmp_path, cli, classifier_file):
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    files = bands(tmp_path / "a.png", 2), tmp_path / "b.png", bands(tmp_path / "c.png", 0)
    result = cli("classify", *files, "-m", classifier_file)
    assert [line.split("\t")[:2] for line in result.out.splitlines()] == [["a.png", "third"], ["c.png", "first"]]
    assert result.code == 1
    assert len(result.error_lines) == 1 and "b.png" in result.err


def test_json_has_all_scores(tmp_path, cli, classifier_file, tiny_models):
    bands(tmp_path / "d/1.png", 0, size=90)
    bands(tmp_path / "d/x/2.png", 3)
    result = cli("classify", tmp_path / "d", "-m", classifier_file, "--json", "--threads", 1)
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [(record["name"], record["label"]) for record in records] == [("1.png", "first"), ("x/2.png", "fourth")]
    for record in records:
        assert list(record["scores"]) == list(tiny_models.LABELS)
        assert record["score"] == record["scores"][record["label"]] == max(record["scores"].values())
        assert sum(record["scores"].values()) == pytest.approx(1, abs=1e-3)


def test_denoise_comes_first(tmp_path, cli, classifier_file, make_model):
    # This denoiser makes everything white, so that no band is brighter than another.
    white = make_model("white", dtype="uint8", offset_255=255)
    picture = bands(tmp_path / "a.png", 2)
    plain = json.loads(cli("classify", picture, "-m", classifier_file, "--json").out)
    whitened = json.loads(cli("classify", picture, "-m", classifier_file, "--denoise", white, "--json").out)
    assert plain["score"] > 0.9
    assert max(whitened["scores"].values()) - min(whitened["scores"].values()) < 0.01


def test_a_model_that_denoises_and_classifies(tmp_path, cli, denoise_classifier_file):
    result = cli("classify", bands(tmp_path / "a.png", 1), "-m", denoise_classifier_file)
    assert result.code == 0 and result.out.startswith("a.png\tsecond\t")


def test_a_fixed_size_denoiser_hands_its_own_size_on(tmp_path, cli, classifier_file, make_model):
    """A large picture goes to the denoiser's size once: there and back and there again would blur it."""
    denoiser = make_model("digits", colour="GRAY", size_hw=(28, 28), offset_255=10)
    small = cv2.imread(str(bands(tmp_path / "small.png", 1)), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "large.png"), np.kron(small, np.ones((10, 10), np.uint8)))
    results = [
        cli("classify", tmp_path / f"{size}.png", "-m", classifier_file, "--denoise", denoiser, "--json")
        for size in ("small", "large")
    ]
    assert [(result.code, result.error_lines) for result in results] == [(0, [])] * 2
    small_scores, large_scores = (json.loads(result.out)["scores"] for result in results)
    assert small_scores == large_scores


def test_a_denoiser_smaller_than_the_classifier_is_said_once(tmp_path, cli, classifier_file, make_model):
    for index in range(4):
        bands(tmp_path / f"d/{index}.png", index)
    result = cli("classify", tmp_path / "d", "-m", classifier_file, "--denoise", make_model(size_hw=(8, 28)))
    assert (result.code, len(result.out.splitlines()), len(result.error_lines)) == (0, 4, 1)
    assert "tiny-denoise works at 28x8: tiny-classify, which takes 28x28" in result.error_lines[0]


def test_names_that_would_break_the_line_are_escaped(tmp_path, cli, classifier_file):
    names = ["a\tb.png", "new\nline.png", "\x1b[31mred.png", "相 机.png", os.fsdecode(b"caf\xe9.png")]
    data = bands(tmp_path / "source.png", 2).read_bytes()
    (tmp_path / "d").mkdir()
    for name in names:
        (tmp_path / "d" / name).write_bytes(data)
    lines = cli("classify", tmp_path / "d", "-m", classifier_file).out.splitlines()
    written = {r"a\tb.png", r"new\nline.png", r"\x1b[31mred.png", "相 机.png", r"caf\udce9.png"}
    assert {line.split("\t")[0] for line in lines} == written
    records = cli("classify", tmp_path / "d", "-m", classifier_file, "--json").out.splitlines()
    assert sorted(json.loads(line)["name"] for line in records) == sorted(names)


def test_frames_of_a_video_are_numbered(cli, classifier_file):
    result = cli("classify", "test:?size=64x48&frames=3", "-m", classifier_file)
    assert [line.split("\t")[0] for line in result.out.splitlines()] == ["0", "1", "2"]


def test_16_bits_are_reduced_on_request(tmp_path, cli, classifier_file):
    gray = cv2.imread(str(bands(tmp_path / "a.png", 2)), cv2.IMREAD_GRAYSCALE)
    deep = write_image(tmp_path / "deep.png", gray.astype(np.uint16) * 257)
    refused = cli("classify", deep, "-m", classifier_file)
    assert refused.code == 2 and "--to-8bit" in refused.error_lines[0]
    assert cli("classify", deep, "-m", classifier_file, "--to-8bit").out.split("\t")[1] == "third"


def test_a_broken_picture_is_named_and_the_rest_is_done(tmp_path, cli, classifier_file):
    for index in range(4):
        bands(tmp_path / f"d/{index}.png", index)
    (tmp_path / "d/2.png").write_bytes((tmp_path / "d/2.png").read_bytes()[:50])
    result = cli("classify", tmp_path / "d", "-m", classifier_file)
    assert result.code == 1
    assert [line.split("\t")[1] for line in result.out.splitlines()] == ["first", "second", "fourth"]
    assert len(result.error_lines) == 1 and "2.png" in result.error_lines[0]


def test_a_model_without_a_card(tmp_path, cli, make_model, tiny_models):
    picture = bands(tmp_path / "a.png", 2)
    bare = make_model("bare", task="classify", colour="GRAY", carries_card=False)
    refused = cli("classify", picture, "-m", bare)
    assert refused.code == 2 and "--card" in refused.error_lines[0]
    card = tmp_path / "card.json"
    card.write_text(tiny_models.TinyModel(task="classify", colour="GRAY").card().to_json())
    assert cli("classify", picture, "-m", bare, "--card", card).out.split("\t")[1] == "third"


def test_bad_input_is_one_line(tmp_path, cli, classifier_file, denoiser_file):
    picture = bands(tmp_path / "a.png", 2)
    (tmp_path / "text.png").write_text("hello there")
    (tmp_path / "text.tflite").write_text("hello there")
    (tmp_path / "none").mkdir()
    for args, says in [
        ((tmp_path / "missing.png", "-m", classifier_file), "no such file"),
        ((tmp_path / "none", "-m", classifier_file), "no images there"),
        ((tmp_path / "text.png", "-m", classifier_file), "not an image"),
        ((picture, "-m", tmp_path / "text.tflite"), "not a LiteRT model"),
        ((picture, "-m", "digit-clasifier"), "did you mean 'digit"),
        ((picture, "-m", denoiser_file), "cannot classify, it is a model to denoise: see quietframe models"),
        ((picture, "-m", classifier_file, "--denoise", classifier_file), "cannot denoise, it is a model to classify"),
        ((picture, "-m", classifier_file, "--threads", 0), "--threads"),
    ]:
        result = cli("classify", *args)
        assert (result.code, result.out, len(result.error_lines)) == (2, "", 1), result
        assert says in result.error_lines[0]

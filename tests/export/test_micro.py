"""C++ source for microcontrollers: what is written, and what TensorFlow Lite for Microcontrollers computes with it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietframe.engines import LiteRtEngine
from quietframe.errors import ModelLoadError, UsageError
from quietframe.zoo import builtin_models
from quietframe_export import micro, micro_run, write_c_array
from quietframe_export.apart import run_apart

ZOO = builtin_models()
runs_here = pytest.mark.skipif(
    not importlib.util.find_spec("tflite_micro"), reason="tflite-micro is not installed: it has wheels for x86-64 Linux"
)

MAIN = """
#include <cstdint>
#include <cstdio>
#include "NAME.int8.h"

namespace model = IDENTIFIER;

struct Resolver {  // takes what MicroMutableOpResolver has methods for, and prints it
METHODS
};

int main() {
  static_assert(model::kOperatorCount == COUNT && model::kArenaSize % 16 == 0, "");
  if (reinterpret_cast<std::uintptr_t>(model::kModel) % 16) return 1;
  Resolver resolver;
  if (!model::AddOperators(resolver)) return 2;
  return std::fwrite(model::kModel, 1, model::kModelSize, stdout) == model::kModelSize ? 0 : 3;
}
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="g++ is not installed: apt install g++")
@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("digit-cnn", ("Conv2D", "FullyConnected", "Mean", "Softmax")),
        ("digit-unet", ("Add", "Conv2D", "DepthToSpace", "Logistic")),
    ],
)
def test_the_source_compiles_and_holds_the_file(name: str, operators: tuple[str, ...], tmp_path: Path) -> None:
    made = write_c_array(ZOO[name], tmp_path)
    assert tuple(made.operators) == operators
    methods = "\n".join(f'  int Add{each}() {{ std::fputs("{each}\\n", stderr); return 0; }}' for each in operators)
    program = MAIN.replace("NAME", name).replace("IDENTIFIER", f"{name.replace('-', '_')}_int8")
    (tmp_path / "main.cc").write_text(program.replace("METHODS", methods).replace("COUNT", str(len(operators))))
    sources = [tmp_path / "main.cc", tmp_path / f"{name}.int8.cc"]
    flags = ("-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    subprocess.run(["g++", *flags, *sources, "-o", tmp_path / "main"], check=True)
    done = subprocess.run([tmp_path / "main"], check=True, capture_output=True)
    assert done.stdout == ZOO[name].read_bytes()
    assert tuple(done.stderr.decode().split()) == operators


@runs_here
@pytest.mark.parametrize("name", ["digit-cnn", "digit-unet"])
def test_tflm_computes_what_litert_computes_bit_for_bit(name: str, tmp_path: Path) -> None:
    """In the memory that the header states, and by the reference kernels: XNNPACK rounds in another way."""
    made = write_c_array(ZOO[name], tmp_path)
    assert made.proof is not None and made.proof.inputs == 16
    assert (made.proof.max_difference, made.proof.share) == (0, 0.0)
    assert f"kArenaSize = {made.arena_bytes};" in (tmp_path / f"{name}.int8.h").read_text()


@runs_here
@pytest.mark.parametrize("name", ["digit-cnn", "digit-unet"])
def test_a_device_gives_what_this_machine_gives(name: str, digit_file: Path) -> None:
    """On digits, in the memory that was measured, but for XNNPACK's rounding: seldom, and by few of 255 steps."""
    from tflite_micro import runtime

    arena = json.loads(run_apart(micro_run.__name__, str(ZOO[name]), "1000000"))["arena_bytes"]
    device = runtime.Interpreter.from_bytes(ZOO[name].read_bytes(), arena_size=arena)
    engine, differences = LiteRtEngine(ZOO[name], threads=1), []
    for image in np.load(digit_file)["x_test"][:50]:
        array = image[None, :, :, None]
        device.set_input((array ^ 128).view(np.int8), 0)  # int8 -128 to 127 stands for 0 to 255, in the results too
        device.invoke()
        (expected,) = engine.run({"image": array}).values()
        differences.append(np.abs(expected.astype(int) - (device.get_output(0).view(np.uint8) ^ 128)))
    assert np.max(differences) <= 8 and np.mean(differences) < 0.2


@runs_here
def test_without_the_package_the_memory_is_an_estimate_that_suffices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {name: micro._prove(ZOO[name], 100_000) for name in ("digit-cnn", "digit-unet", "latent-autoencoder")}

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(micro, "version", missing)
    for name, proof in measured.items():
        made = write_c_array(ZOO[name], tmp_path)
        assert made.proof is None and "not run" in made.lines()[1]
        assert proof is not None and proof.arena_bytes <= made.arena_bytes <= 1.5 * proof.arena_bytes
    assert "estimated.\n// Begin with more" in (tmp_path / "digit-cnn.int8.h").read_text()


@runs_here
def test_too_little_memory_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        run_apart(micro_run.__name__, str(ZOO["digit-cnn"]), "5000")


@pytest.mark.parametrize(
    ("operator", "method"),
    [
        ("DEPTHWISE_CONV_2D", "DepthwiseConv2D"),
        ("L2_POOL_2D", "L2Pool2D"),
        ("PADV2", "PadV2"),
        ("RELU6", "Relu6"),
        ("SPACE_TO_BATCH_ND", "SpaceToBatchNd"),
        ("BATCH_MATMUL", "BatchMatMul"),
    ],
)
def test_operators_go_by_the_names_of_the_resolver(operator: str, method: str) -> None:
    assert micro._method(operator) == method


def _converted(path: Path, activation: str, *, int8: bool) -> Path:
    import keras
    import tensorflow as tf

    image = keras.Input((8, 8, 1), batch_size=1, name="image")
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same", activation=activation)(image))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if int8:
        rng = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([rng.random((1, 8, 8, 1), np.float32)] for _ in range(4))
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return path


def test_files_that_are_not_for_microcontrollers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"computes in floats \(CONV_2D\); c-array takes int8 files"):
        write_c_array(_converted(tmp_path / "float.tflite", "relu", int8=False))
    (tmp_path / "text.tflite").write_text("this is not a model")
    with pytest.raises(ModelLoadError, match=r"text\.tflite"):
        write_c_array(tmp_path / "text.tflite")
    assert not [*tmp_path.glob("*.h"), *tmp_path.glob("*.cc")]


@runs_here
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_an_operator_that_tflm_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"Microcontrollers does not run it \(.*GELU"):
        write_c_array(_converted(tmp_path / "gelu.tflite", "gelu", int8=True))
    assert not [*tmp_path.glob("*.h"), *tmp_path.glob("*.cc")]


def test_from_the_command_line(classifier_run: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    done = cli("export", classifier_run, "--to", "c-array", "-o", tmp_path, "--json")
    assert done.code == 0
    report = json.loads(done.out)
    assert [file["target"] for file in report["files"]] == ["tflite-int8"]
    assert report["c_array"]["operators"] == ["FullyConnected", "Reshape", "Softmax"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "digit-classifier.int8.tflite",
        "digit-classifier.int8.h",
        "digit-classifier.int8.cc",
        "export.json",
    }
    (tmp_path / "digit-classifier.int8.tflite").unlink()
    again = cli("export", classifier_run, "--to", "c-array", "-o", tmp_path)
    assert again.code == 1 and "passed" in again.out  # the report of the file that was made anew
    assert "digit-classifier.int8.h: exists; pass --overwrite" in again.err


def test_of_a_built_in_model_from_the_command_line(tmp_path: Path, cli: Callable[..., Any]) -> None:
    done = cli("export", "digit-cnn", "--to", "c-array", "-o", tmp_path)
    assert done.code == 0 and "86,800 bytes" in done.out
    for arguments, message in (
        (("digit-cnn", "--to", "c-array", "-o", tmp_path), "exists; pass --overwrite"),
        (("digit-cnn", "--to", "c-array,onnx-fp32", "-o", tmp_path), "is converted already"),
        ((ZOO["digit-cnn"],), "takes --to c-array alone"),
    ):
        refused = cli("export", *arguments)
        assert refused.code == 2 and message in refused.err

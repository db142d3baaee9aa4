"""One suite for every engine: `suffix` runs each test once per engine."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietframe.engines import ENGINES, Engine
from quietframe.errors import MissingExtraError, ModelLoadError
from support.process import run_python

MakeModel = Callable[..., Path]


def open_engine(path: Path, threads: int = 1) -> Engine:
    return ENGINES[path.suffix](path, threads=threads)


@pytest.fixture
def engine(make_model: MakeModel, suffix: str) -> Engine:
    """A float32 BGR model of any size that adds the noise level."""
    return open_engine(make_model(suffix=suffix, sigma=True))


def inputs_of(engine: Engine, height: int, width: int, value: float = 0.5, sigma: float = 0.0) -> dict[str, Any]:
    nhwc = engine.inputs["image"].shape[-1] == 3
    shape = (1, height, width, 3) if nhwc else (1, 3, height, width)
    return {"image": np.full(shape, value, np.float32), "sigma": np.full((1, 1, 1, 1), sigma, np.float32)}


def test_an_engine_declares_what_it_opens_and_with_which_package(suffix):
    assert suffix in ENGINES[suffix].suffixes
    assert importlib.util.find_spec(ENGINES[suffix].package)


def test_tensors_go_by_the_names_of_the_signature(engine):
    assert list(engine.inputs) == ["image", "sigma"]
    assert list(engine.outputs) == ["denoised"]
    assert engine.inputs["sigma"].shape == (1, 1, 1, 1)
    assert engine.inputs["image"].dtype == engine.outputs["denoised"].dtype == np.float32


def test_free_axes_are_none_and_fixed_ones_are_numbers(make_model, suffix):
    free = open_engine(make_model("free", suffix=suffix, layout="NHWC")).inputs["image"]
    fixed = open_engine(make_model("fixed", suffix=suffix, layout="NHWC", size_hw=(12, 20))).inputs["image"]
    assert free.shape == (1, None, None, 3)
    assert fixed.shape == (1, 12, 20, 3)


def test_inputs_may_come_in_any_order_and_read_only(engine):
    inputs = inputs_of(engine, 4, 4, 0.25, 0.5)
    for array in inputs.values():
        array.setflags(write=False)
    result = engine.run(dict(reversed(inputs.items())))
    assert np.all(result["denoised"] == 0.75)


def test_outputs_are_found_by_name(make_model, suffix):
    both = open_engine(make_model(suffix=suffix, task="denoise+classify", colour="GRAY", layout="NHWC"))
    result = both.run({"image": np.full((1, 28, 28, 1), 0.5, np.float32)})
    assert result["denoised"].shape == (1, 28, 28, 1)
    assert result["scores"].shape == (1, 4)
    assert np.all(result["denoised"] == 0.5)
    assert result["scores"] == pytest.approx(0.25, abs=1e-5)


def test_the_size_may_change_from_call_to_call(engine):
    for height, width in [(4, 4), (7, 300), (1, 1), (300, 7), (4, 4), (4, 4)]:
        inputs = inputs_of(engine, height, width, 0.25, 0.125)
        result = engine.run(inputs)["denoised"]
        assert result.shape == inputs["image"].shape
        assert np.all(result == 0.375)


def test_two_inputs_may_change_their_sizes_together(make_model, suffix):
    engine = open_engine(make_model(suffix=suffix, sigma=True, level_map=True, multiple=4, layout="NHWC"))
    for height, width in [(4, 4), (8, 300), (300, 8), (4, 4), (4, 4)]:
        image = np.full((1, height, width, 3), 0.25, np.float32)
        hw = height // 4, width // 4
        shape = (1, *hw, 1) if suffix == ".tflite" else (1, 1, *hw)
        for sigma in (np.full(shape, 0.125, np.float32), np.broadcast_to(np.float32(0.125), shape)):
            result = engine.run({"image": image, "sigma": sigma})["denoised"]
            assert result.shape == image.shape
            assert np.all(result == 0.375)


def test_results_belong_to_the_caller(engine):
    first = engine.run(inputs_of(engine, 6, 6, 0.25))["denoised"]
    second = engine.run(inputs_of(engine, 6, 6, 0.75))["denoised"]
    assert np.all(first == 0.25)
    second[:] = 0
    third = engine.run(inputs_of(engine, 6, 6, 0.5))["denoised"]
    assert np.all(second == 0)
    assert np.all(third == 0.5)
    del engine
    assert np.all(first == 0.25)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda inputs: inputs | {"image": inputs["image"].astype(np.uint8)},
        lambda inputs: inputs | {"image": inputs["image"][0]},
        lambda inputs: inputs | {"image": np.zeros((1, 5, 5, 5), np.float32)},
        lambda inputs: {"image": inputs["image"]},
        lambda inputs: inputs | {"other": inputs["image"]},
        lambda inputs: {},
    ],
    ids=["dtype", "rank", "channels", "missing input", "unknown input", "nothing"],
)
def test_wrong_inputs_are_one_line_and_do_no_harm(engine, spoil):
    good = inputs_of(engine, 4, 4, 0.25, 0.5)
    engine.run(good)
    with pytest.raises(ModelLoadError, match=r"cannot run on .*the file takes image float32.*sigma float32") as caught:
        engine.run(spoil(good))
    assert "\n" not in str(caught.value)
    assert np.all(engine.run(good)["denoised"] == 0.75)


def test_a_size_that_the_model_cannot_take_does_no_harm(make_model, suffix):
    even_only = open_engine(make_model(suffix=suffix, multiple=2, layout="NHWC"))
    good = {"image": np.full((1, 6, 6, 3), 0.5, np.float32)}
    for _ in range(2):
        with pytest.raises(ModelLoadError, match="cannot run"):
            even_only.run({"image": np.zeros((1, 5, 5, 3), np.float32)})
        assert np.all(even_only.run(good)["denoised"] == 0.5)


def test_threads_may_share_an_engine(engine):
    def work(number: int) -> bool:
        sizes = [4 + (number + step) % 5 for step in range(30)]
        results = [engine.run(inputs_of(engine, size, size, number / 16, 0.5))["denoised"] for size in sizes]
        return all(
            result.shape[2] == size and np.all(result == number / 16 + 0.5)
            for size, result in zip(sizes, results, strict=True)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


LIBRARIES = {".tflite": "ai_edge_litert.interpreter", ".onnx": "onnxruntime", ".xml": "openvino"}
COUNT_THREADS = """
import sys, threading
from pathlib import Path
import numpy as np
from quietframe.engines import ENGINES
path, threads = Path(sys.argv[1]), int(sys.argv[2])
import {module}
def count():
    return len(list(Path("/proc/self/task").iterdir()))
before = count()
engine = ENGINES[path.suffix](path, threads=threads)
engine.run({"image": np.zeros((1, 64, 64, 3), np.float32)})
print(count() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc, which Linux has")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_are_honoured_and_nothing_is_printed(make_model, suffix, threads):
    path = make_model(suffix=suffix, blur=True, layout="NHWC")
    done = run_python("-c", COUNT_THREADS.replace("{module}", LIBRARIES[suffix]), path, threads)
    assert done.stderr == ""
    if suffix == ".xml":  # two wait, whatever their number, and no more work than there are cores
        assert int(done.stdout) <= 2 + threads - 1
    else:
        assert int(done.stdout) == threads - 1  # the caller is one of them


KEPT_MEMORY = """
import sys
from pathlib import Path
import numpy as np
from quietframe.cpu import rss_mb
from quietframe.engines import ENGINES
path = Path(sys.argv[1])
engine = ENGINES[path.suffix](path, threads=1)
for side in (64, 2048, 2048, 64, 64):
    engine.run({"image": np.zeros((1, side, side, 3), np.float32)})
    print(rss_mb())
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read in /proc, which Linux has")
def test_memory_that_large_inputs_took_is_given_back(make_model, suffix):
    path = make_model(suffix=suffix, blur=True, multiple=2, layout="NHWC")
    small, large, large_again, after, after_again = map(float, run_python("-c", KEPT_MEMORY, path).stdout.split())
    assert large > small + 50, "a run on the large input leaves a mark"
    assert large_again < large + 30, "the same size again takes no more"
    assert max(after, after_again) < small + 20


def test_other_lines_on_standard_error_pass_while_a_model_loads(make_model):
    """Also while a child of another thread, which inherits the redirected standard error, runs on."""
    code = (
        "import os, subprocess, sys; from pathlib import Path; import ai_edge_litert.interpreter as i\n"
        "allocate = i.Interpreter.allocate_tensors\n"
        "def speak(self):\n"
        "    global child; child = subprocess.Popen(['sleep', '100'], stdout=subprocess.DEVNULL)\n"
        "    os.write(2, b'WARNING: heard\\n'); return allocate(self)\n"
        "i.Interpreter.allocate_tensors = speak\n"
        "from quietframe.engines import LiteRtEngine; LiteRtEngine(Path(sys.argv[1]), threads=1)\n"
        "assert child.poll() is None; child.kill()\n"
        "os.write(2, b'after\\n')"
    )
    assert run_python("-c", code, make_model(size_hw=(16, 16))).stderr == "WARNING: heard\nafter\n"


def test_the_card_is_read_from_the_file(make_model, suffix, tiny_models):
    model = tiny_models.TinyModel(suffix=suffix)
    assert open_engine(make_model("with", suffix=suffix)).card_json == model.card().to_json()
    assert open_engine(make_model("without", suffix=suffix, carries_card=False)).card_json is None


def test_quantization_is_read_from_the_file(make_model):
    for dtype, scale, zero_point in [("uint8", 1 / 255, 0), ("int8", 1 / 255, -128), ("int16", 1 / 32767, 0)]:
        info = open_engine(make_model(dtype, dtype=dtype)).inputs["image"].declared
        assert (info.dtype, info.zero_point) == (np.dtype(dtype), zero_point)
        assert info.scale == pytest.approx(scale)
    assert open_engine(make_model("float32")).inputs["image"].scale == 0


def test_signed_bytes_go_in_and_out_as_unsigned_ones(make_model):
    engine = open_engine(make_model(dtype="int8", offset_255=3))
    for info in (engine.inputs["image"], engine.outputs["denoised"]):
        assert (info.dtype, info.zero_point, info.declared.dtype) == (np.uint8, 0, np.int8)
    levels = np.arange(252, dtype=np.uint8)[::-1].reshape(1, 7, 12, 3)
    levels.setflags(write=False)
    first = engine.run({"image": levels})["denoised"]
    second = engine.run({"image": levels[:, ::-1, ::2]})["denoised"]  # not contiguous, and of another size
    assert np.array_equal(first, levels + 3)
    assert np.array_equal(second, levels[:, ::-1, ::2] + 3)
    for wrong in (levels.view(np.int8), levels.astype(np.float32)):
        with pytest.raises(ModelLoadError, match=r"cannot run on image .*takes image uint8"):
            engine.run({"image": wrong})
    declared = engine.inputs["image"].as_declared(levels)
    assert np.array_equal(declared, levels.astype(np.int16) - 128)
    assert np.array_equal(engine.inputs["image"].from_declared(declared), levels)


def test_files_that_are_no_models(tmp_path, suffix, make_model):
    other = make_model("other", suffix=".onnx" if suffix == ".tflite" else ".tflite")
    for missing, says in ((tmp_path, "Is a directory"), (tmp_path / f"missing{suffix}", "No such file")):
        with pytest.raises(ModelLoadError, match=f"cannot be read .*{says}"):
            ENGINES[suffix](missing, threads=1)
    contents = {
        "empty": b"",
        "text": b"This is a text file, renamed by mistake.\n" * 20,
        "zeros": bytes(4096),
        "header alone": b"\x1c\x00\x00\x00TFL3",
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(500),
        "other engine's": other.read_bytes(),
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        path.with_suffix(".bin").touch()  # the weights of an .xml file
        with pytest.raises(ModelLoadError) as caught:
            open_engine(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_onnx_weights_in_a_file_of_their_own_are_found_from_anywhere(make_model, monkeypatch, tmp_path):
    onnx = pytest.importorskip("onnx")
    whole = make_model(suffix=".onnx", blur=True)
    apart = tmp_path / "apart" / "model.onnx"
    apart.parent.mkdir()
    onnx.save_model(onnx.load(whole), apart, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    assert apart.with_name("model.onnx.data").stat().st_size > 0
    monkeypatch.chdir("/")
    expected = open_engine(whole).run(given := {"image": np.random.default_rng(0).random((1, 3, 8, 8), np.float32)})
    np.testing.assert_array_equal(open_engine(apart).run(given)["denoised"], expected["denoised"])
    monkeypatch.chdir(apart.parent)
    np.testing.assert_array_equal(open_engine(Path("model.onnx")).run(given)["denoised"], expected["denoised"])


def test_an_onnx_file_of_the_future_is_refused_in_a_short_line(make_model):
    onnx = pytest.importorskip("onnx")
    path = make_model(suffix=".onnx")
    model = onnx.load(path)
    model.ir_version = 99
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelLoadError, match=r"\(it has IR version 99, the installed ONNX Runtime reads up to \d+: "):
        open_engine(path)


def test_openvino_weights_that_are_not_beside_the_file_are_named(make_model):
    path = make_model(suffix=".xml")
    path.with_suffix(".bin").unlink()
    with pytest.raises(ModelLoadError, match=r"model\.xml: its weights are missing: lay model\.bin beside it"):
        open_engine(path)


def test_openvino_is_imported_without_its_telemetry(make_model, tmp_path):
    """It would send an event at every import, and leave an identity in the home folder."""
    code = (
        "import sys; from pathlib import Path; from quietframe.engines import OpenVinoEngine\n"
        "OpenVinoEngine(Path(sys.argv[1]), threads=1); assert 'openvino' in sys.modules\n"
        "print(*(name for name, module in sys.modules.items() if module and name.startswith('openvino_telemetry')))"
    )
    home = tmp_path / "home"
    home.mkdir()
    assert run_python("-c", code, make_model(suffix=".xml"), HOME=str(home)).stdout == "\n"
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    ("suffix", "package", "remedy"),
    [
        (".onnx", "onnxruntime", r"ONNX Runtime is not installed: pip install 'quietframe\[onnx\]'"),
        (".xml", "openvino", r"OpenVINO is not installed: pip install 'quietframe\[openvino\]'"),
    ],
)
def test_without_an_engine_the_install_is_named(tmp_path, monkeypatch, suffix, package, remedy):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=remedy):
        open_engine(tmp_path / f"model{suffix}")


# Damaged files are opened in a process of their own, one for many files: what must be shown is that no file
# makes the engine abort the process.
OPEN_ALL = """
import sys
from pathlib import Path
import numpy as np
from quietframe.engines import ENGINES
from quietframe.errors import QuietFrameError
for path in sorted(path for path in Path(sys.argv[1]).iterdir() if path.suffix != ".bin"):
    print(path.name, flush=True)
    try:
        engine = ENGINES[path.suffix](path, threads=1)
        shapes = {name: [size or 8 for size in info.shape] for name, info in engine.inputs.items()}
        if sum(map(np.prod, shapes.values())) < 1e6:
            engine.run({name: np.zeros(shapes[name], info.dtype) for name, info in engine.inputs.items()})
    except QuietFrameError as exc:
        assert str(exc).startswith(str(path)) and chr(10) not in str(exc), exc
print("survived")
"""


def damaged(data: bytes, rng: np.random.Generator, flips: int, skip: range) -> bytes:
    copy = bytearray(data)
    places = [at for at in range(len(data)) if at not in skip]
    for at in rng.choice(places, flips):
        copy[at] = int(rng.integers(256))
    return bytes(copy)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_no_damaged_file_ends_the_process(make_model, suffix, dtype, tmp_path, rng):
    path = make_model(suffix=suffix, dtype=dtype, sigma=True, multiple=2, blur=True)
    data, weights = path.read_bytes(), path.with_suffix(".bin")
    card = range(data.index(b"{"), data.rindex(b"}"))  # the card's own damage is the card's tests' business
    folder = tmp_path / "damaged"
    folder.mkdir()
    for index in range(300):
        flipped = damaged(data, rng, int(rng.integers(1, 4)), card)
        (folder / f"flipped{index:03}{suffix}").write_bytes(flipped)
    for index, length in enumerate(np.linspace(1, len(data) - 1, 100).astype(int)):
        (folder / f"cut{index:03}{suffix}").write_bytes(data[:length])
    if suffix == ".xml":
        for each in list(folder.iterdir()):
            each.with_suffix(".bin").write_bytes(weights.read_bytes())
        for length in range(0, weights.stat().st_size, 3):
            (folder / f"weights{length:03}.xml").write_bytes(data)
            (folder / f"weights{length:03}.bin").write_bytes(weights.read_bytes()[:length])
    done = run_python("-c", OPEN_ALL, folder, check=False)
    lines = done.stdout.splitlines()
    assert lines[-1] == "survived", f"{lines[-1]}: exit {done.returncode}: {done.stderr[-500:]}"
    assert done.stderr == ""


def change_graph(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The model with its graph changed."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data)
    for metadata in model.metadata:
        metadata.name = metadata.name.decode()
    change(model.subgraphs[0])
    return packed(model)


def packed(model: Any) -> bytes:
    """The file of a model of LiteRT's schema."""
    import flatbuffers

    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def scales(*values: float) -> Callable[[Any], None]:
    """A change of the scales of the first tensors, and to addition by shifts if there are several."""

    def change(graph: Any) -> None:
        for tensor, scale in zip(graph.tensors, values, strict=False):
            tensor.quantization.scale = [scale]
        graph.operators[-1].builtinOptions.potScaleInt16 = len(values) > 1

    return change


@pytest.mark.parametrize(
    ("dtype", "change", "says"),
    [
        ("uint8", lambda graph: setattr(graph.tensors[3].quantization, "scale", [1e30]), "scale 1e[+]30"),
        ("uint8", lambda graph: setattr(graph.tensors[3].quantization, "scale", [-1.0]), "scale -1"),
        ("uint8", lambda graph: setattr(graph.tensors[3].quantization, "scale", [float("nan")]), "scale nan"),
        ("uint8", lambda graph: setattr(graph.tensors[3].quantization, "zeroPoint", [70_000]), "zero point 70000, exp"),
        ("uint8", lambda graph: setattr(graph.tensors[3], "quantization", None), "mixes integer tensors with and with"),
        ("uint8", lambda graph: setattr(graph.tensors[3], "shape", [1, 2**20, 2**20, 3]), "too large to hold"),
        ("float32", lambda graph: setattr(graph.tensors[2], "shape", [1, 2**13, 2**14, 4]), "too large to hold"),
        ("int16", scales(2.0), "operation 0 adds tensors of the scale 2 to one of 3.05185e-05, too fine"),
        ("int16", scales(0.1, 0.1, 0.1), "operation 0 adds 16-bit integers by shifts"),
        ("int16", scales(0.5, 0.25, 0.25), "operation 0 adds 16-bit integers by shifts"),
        ("int8", lambda graph: setattr(graph.tensors[-1], "type", 0), r"operation \d mixes tensors of several types"),
        ("float32", lambda graph: setattr(graph.operators[-1], "inputs", [-1, 0]), r"operation \d lacks an input"),
    ],
)
def test_senseless_numbers_in_a_whole_flatbuffer(make_model, dtype, change, says):
    path = make_model(dtype=dtype, multiple=1 if dtype == "int16" else 2, sigma=dtype == "uint8")
    data = path.read_bytes()
    path.write_bytes(change_graph(data, lambda _: None))
    open_engine(path)  # the way there and back does no harm
    path.write_bytes(change_graph(data, change))
    with pytest.raises(ModelLoadError, match=says):
        open_engine(path)


@pytest.mark.parametrize("change", ["graph", "tensor"])
def test_a_signature_of_what_is_not_there(make_model, change):
    from ai_edge_litert import schema_py_generated as schema

    def lie(signature: Any) -> None:
        if change == "graph":
            signature.subgraphIndex = 128
        else:
            signature.outputs[0].tensorIndex = 999

    path = make_model()
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    lie(model.signatureDefs[0])
    path.write_bytes(packed(model))
    with pytest.raises(ModelLoadError, match="its signature names tensors that are not there"):
        open_engine(path)


def test_16_bit_additions_by_shifts_run(make_model):
    path = make_model(dtype="int16")
    by_shifts = scales(2**-15, 2**-15, 2**-15)
    path.write_bytes(change_graph(path.read_bytes(), by_shifts))
    with pytest.raises(ModelLoadError, match="in scales or shapes that it cannot"):  # a constant that is broadcast
        open_engine(path)

    def doubled(graph):
        by_shifts(graph)
        graph.operators[-1].inputs = [0, 0]

    path.write_bytes(change_graph(path.read_bytes(), doubled))
    zeros = np.zeros((1, 8, 8, 3), np.int16)
    assert open_engine(path).run({"image": zeros})["denoised"].shape == zeros.shape


def test_an_empty_output_is_an_error(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    nodes = [onnx.helper.make_node("Compress", ["image", "none"], ["denoised"], axis=1)]
    none = onnx.helper.make_tensor("none", onnx.TensorProto.BOOL, [1], [False])
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "empty", [value("image", 1, [1, 8, 8, 3])], [value("denoised", 1, [1, None, 8, 3])], [none]
    )
    path = tmp_path / "empty.onnx"
    opset = [onnx.helper.make_opsetid("", 17)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
    with pytest.raises(
        ModelLoadError, match=r"empty\.onnx: its output 'denoised' is empty, of the shape \[1, 0, 8, 3\]"
    ):
        open_engine(path).run({"image": np.zeros((1, 8, 8, 3), np.float32)})

"""Inputs that are damaged on purpose: small valid ones, and changes that keep enough of their structure to get far."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np

from support.tiny_models import TinyModel

Random = np.random.Generator
NUMBERS = [0, 1, -1, 2, 3, 7, 16, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, -(2**31), 2**32 - 1]
FLOATS = [0.0, -1.0, 1e-30, 1e30, 2.0, 255.0, float("inf"), float("nan")]
WORDS = ["", "image", "sigma", "NHWC", "NCHW", "BGR", "GRAY", "\0", "é" * 300, "1e999", "../../x"]


def pick(rng: Random, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def mutate_bytes(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change a few places: flipped bits, odd numbers of 1 to 8 bytes, pieces cut out, doubled or of another input."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        # Half of all changes are in the beginning, where headers are.
        at = int(rng.integers(max(1, min(len(result), 256 if rng.random() < 0.5 else 2**31))))
        length = int(rng.integers(1, 64))
        kind = int(rng.integers(6))
        if kind == 0 and result:
            result[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            size, order = pick(rng, [1, 2, 4, 8]), pick(rng, ["big", "little"])
            number = (pick(rng, NUMBERS) % 2 ** (8 * size)).to_bytes(size, order)
            result[at : at + size] = number
        elif kind == 2:
            del result[at : at + length]
        elif kind == 3:
            result[at:at] = result[at : at + length] * int(rng.integers(1, 40))
        elif kind == 4 and (other := pick(rng, others)):
            start = int(rng.integers(len(other)))
            result[at : at + length] = other[start : start + length]
        elif rng.random() < 0.3:
            del result[at:]
    return bytes(result)


def with_checksums(png: bytes) -> bytes:
    """A PNG whose chunks' checksums are right again, as far as its chunks can be followed."""
    result, at = bytearray(png), 8
    while at + 12 <= len(result):
        end = at + 8 + int.from_bytes(result[at : at + 4], "big")
        if end + 4 > len(result):
            break
        result[end : end + 4] = struct.pack(">I", zlib.crc32(result[at + 4 : end]))
        at = end + 4
    return bytes(result)


def mutate_image(rng: Random) -> tuple[str, bytes]:
    suffix, data = pick(rng, images())
    changed = mutate_bytes(rng, data, [other for _, other in images()])
    return suffix, with_checksums(changed) if suffix == "png" and rng.random() < 0.8 else changed


@cache
def images() -> list[tuple[str, bytes]]:
    import PIL.Image

    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)
    color, gray = PIL.Image.fromarray(pixels[..., :3]), PIL.Image.fromarray(pixels[..., 0])
    kinds: list[tuple[str, Any, dict[str, Any]]] = [
        ("png", PIL.Image.fromarray(pixels), {}),
        ("png", gray.convert("P"), {}),
        ("png", PIL.Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), {}),
        ("jpg", color, {"progressive": True}),
        ("jpg", color, {"icc_profile": bytes(128), "dpi": (72, 72), "comment": "of tests"}),
        ("bmp", color, {}),
        ("gif", gray, {}),
        ("ppm", color, {}),
        ("webp", color, {}),
        ("webp", PIL.Image.fromarray(pixels), {"lossless": True}),
        ("jp2", color, {}),
        ("avif", color, {}),
        *[
            ("tif", color, {"compression": coding})
            for coding in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits")
        ],
        ("tif", gray.convert("1"), {"compression": "group4"}),
    ]
    found = []
    for suffix, image, options in kinds:
        file = BytesIO()
        image.save(file, {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(suffix, suffix), **options)
        found.append((suffix, file.getvalue()))
    return found


def mutate_tree(rng: Random, tree: Any) -> None:
    """Change one value somewhere in lists, dictionaries and objects."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        if not isinstance(node, (list, dict)) and not hasattr(node, "__dict__"):
            return  # changed before
        own = dict(enumerate(node)) if isinstance(node, list) else node if isinstance(node, dict) else vars(node)
        for key, value in own.items():
            places.append((node, key))
            if isinstance(value, (list, dict)) or (hasattr(value, "__dict__") and not isinstance(value, type)):
                walk(value)

    walk(tree)
    if not places:
        return
    node, key = pick(rng, places)
    value = node[key] if isinstance(node, (list, dict)) else getattr(node, key)
    new = other_value(rng, value)
    if (isinstance(node, list) and rng.random() < 0.15) or (isinstance(node, dict) and rng.random() < 0.1):
        del node[key]
    elif isinstance(node, (list, dict)):
        node[key] = new
    else:
        setattr(node, key, new)


def other_value(rng: Random, value: Any) -> Any:
    """A value of the same type, of the ones that programs get wrong; of a list, another length."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, np.integer)):
        return int(value) + int(rng.integers(-2, 3)) if rng.random() < 0.4 else pick(rng, NUMBERS)
    if isinstance(value, (float, np.floating)):
        return pick(rng, FLOATS)
    if isinstance(value, bytes):
        return mutate_bytes(rng, value, [b"image"])
    if isinstance(value, str):
        return pick(rng, WORDS)
    if isinstance(value, list):
        return pick(rng, [[], value[:-1], value + value[-1:], value[::-1]])
    if isinstance(value, np.ndarray) and len(value):
        changed = value.copy()
        changed[int(rng.integers(len(value)))] = rng.integers(0, 100)
        return pick(rng, [changed, value[:-1]])
    return None


MODELS = (
    TinyModel(sigma=True, multiple=2, blur=True),
    TinyModel(dtype="uint8", sigma=True, multiple=2, blur=True),
    TinyModel(dtype="int8", blur=True),
    TinyModel(dtype="int16", sigma=True),
    TinyModel(task="denoise+classify", colour="GRAY", dtype="int8"),
    TinyModel(layout="NCHW", size_hw=(16, 16)),
    TinyModel(suffix=".onnx", sigma=True, multiple=2, blur=True),
    TinyModel(suffix=".onnx", dtype="uint8"),
    TinyModel(suffix=".onnx", task="denoise+classify", colour="GRAY"),
)


@cache
def model_bytes(suffix: str) -> list[bytes]:
    return [model.to_bytes() for model in MODELS if model.suffix == suffix]


def mutate_card(rng: Random) -> tuple[str, bytes]:
    tree = json.loads(pick(rng, MODELS).card().to_json())
    for _ in range(int(rng.integers(1, 4))):
        mutate_tree(rng, tree)
    data = json.dumps(tree).encode()
    return "json", mutate_bytes(rng, data, [data]) if rng.random() < 0.2 else data


def mutate_tflite(rng: Random) -> tuple[str, bytes]:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    data = pick(rng, model_bytes(".tflite"))
    if rng.random() < 0.3:
        return "tflite", mutate_bytes(rng, data, [data])
    model = schema.ModelT.InitFromPackedBuf(data)
    for _ in range(int(rng.integers(1, 4))):
        mutate_tree(rng, pick(rng, [model.subgraphs[0], model.subgraphs[0], model]))
    builder = flatbuffers.Builder(4096)
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
        return "tflite", bytes(builder.Output())
    except Exception:  # noqa: BLE001  a value that a flatbuffer cannot hold
        return "tflite", mutate_bytes(rng, data, [data])


def mutate_onnx(rng: Random) -> tuple[str, bytes]:
    import onnx

    data = pick(rng, model_bytes(".onnx"))
    if rng.random() < 0.3:
        return "onnx", mutate_bytes(rng, data, [data])
    model = onnx.load_from_string(data)
    for _ in range(int(rng.integers(1, 4))):
        _mutate_message(rng, pick(rng, [model.graph, model.graph, model]))
    return "onnx", model.SerializeToString()


def _mutate_message(rng: Random, message: Any) -> None:
    """Change one field somewhere in a protocol buffer."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for field, value in node.ListFields():
            places.append((node, field))
            if field.message_type is not None:
                for child in value if field.is_repeated else [value]:
                    walk(child)

    walk(message)
    if not places:
        return
    node, field = pick(rng, places)
    values = getattr(node, field.name)
    if field.is_repeated:
        at = int(rng.integers(len(values)))
        if field.message_type is not None or rng.random() < 0.2:
            values.pop(at)
            return
        new, assign = other_value(rng, values[at]), lambda new: values.__setitem__(at, new)
    elif field.message_type is not None:
        node.ClearField(field.name)
        return
    else:
        new, assign = other_value(rng, values), lambda new: setattr(node, field.name, new)
    try:
        assign(new)
    except (TypeError, ValueError):  # out of the field's range
        node.ClearField(field.name)


@cache
def videos() -> list[tuple[str, bytes]]:
    """Six frames in the containers and codecs that are read most, with sound in one of them."""
    import av

    found = []
    kinds = [("mp4", "libx264"), ("mkv", "ffv1"), ("avi", "mjpeg"), ("webm", "libvpx-vp9"), ("ts", "mpeg2video")]
    for suffix, codec in [*kinds, ("h264", "libx264"), ("mp4", "libx265")]:
        file = BytesIO()
        with av.open(file, "w", format={"mkv": "matroska", "ts": "mpegts"}.get(suffix, suffix)) as out:
            quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
            stream = out.add_stream(codec, rate=25, options=quiet)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for index in range(6):
                pixels = np.full((72, 64), 40 * index, np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p").reformat(format=stream.pix_fmt)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        found.append((suffix, file.getvalue()))
    return found


def mutate_video(rng: Random) -> tuple[str, bytes]:
    suffix, data = pick(rng, videos())
    return suffix, mutate_bytes(rng, data, [other for _, other in videos()])


def mutate_stream(rng: Random) -> tuple[str, bytes]:
    """What comes on standard input: JPEGs in parts or bare, or a live video."""
    jpegs = [data for suffix, data in images() if suffix == "jpg"]
    parts = [b"--frame\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(data), data) for data in jpegs * 3]
    live = [data for suffix, data in videos() if suffix in ("ts", "mkv", "h264")]
    data = pick(rng, [b"".join(parts), b"".join(jpegs * 3), *live])
    return "stream", mutate_bytes(rng, data, [*jpegs, *live])


MUTATIONS: dict[str, Callable[[Random], tuple[str, bytes]]] = {
    "image": mutate_image,
    "card": mutate_card,
    "tflite": mutate_tflite,
    "onnx": mutate_onnx,
    "video": mutate_video,
    "stream": mutate_stream,
}

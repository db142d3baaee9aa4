"""The model card: a model's metadata, stored as JSON inside the model file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from quietframe.errors import ModelLoadError, UsageError
from quietframe.serde import RecordError, from_record

FORMAT = 2
"""Version of the card's schema. A file with another one is refused."""

CARD_KEY = "quietframe.card"
"""Name of the TFLite metadata buffer and of the ONNX `metadata_props` entry that hold the card."""

Task = Literal["denoise", "classify", "denoise+classify"]
Precision = Literal["fp32", "fp16", "dynamic", "int8", "int16x8"]
Role = Literal["image", "sigma", "scores", "state", "confidence", "weight"]
Layout = Literal["NHWC", "NCHW", "NC", "N111"]
Colour = Literal["BGR", "RGB", "GRAY"]
Conditioning = Literal["none", "sigma"]
SpatialKind = Literal["any", "fixed"]
Fit = Literal["resize", "tile"]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output tensor.

    Attributes:
        name: the tensor's name in the file's signature; converters reorder tensors, so names decide.
        role: what it carries: `image`, `sigma` (noise level) or `scores` (one per label). Of video models `state`, what
            they remember of the frames before: an output of that role names the input that takes it with the next
            frame. Or, where there is an output `weight`, the runtime keeps the state, a mean of the frames in which the
            one before has that weight at every place, and gives it to the input, with the `confidence` in it.
        layout: axis order; `N111` is a single number of shape (1, 1, 1, 1), in any other a noise level is a map.
        channels: colour channels of an image, classes of scores, 1 for sigma.
        value_range: (low, high), the real values that stand for 8-bit 0 and 255 in an image, for the least
            and the greatest noise level (standard deviation / 255) in sigma, and (0, 1) for scores.
        colour: channel order of an image; None for other roles.
        stride: how many times smaller than the image a map or a state is, in height and in width; 1 otherwise.
        feeds: of an output with the role `state`, the input that takes it.
        start: of an input with the role `state`, the value that it begins with everywhere.
        mean, deviation: of an image that is normalized, one number for each channel in the order of `colour`: the
            tensor holds (value − mean) / deviation, where `value_range` is that of the values. Empty: the values.
    """

    name: str
    role: Role
    layout: Layout
    channels: int
    value_range: tuple[float, float]
    colour: Colour | None = None
    stride: int = 1
    feeds: str | None = None
    start: float = 0.0
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest number in the tensor: `value_range`, normalized."""
        if not self.mean:
            return self.value_range
        low, high = self.value_range
        pairs = list(zip(self.mean, self.deviation, strict=True))
        return min((low - mean) / scale for mean, scale in pairs), max((high - mean) / scale for mean, scale in pairs)


@dataclass(frozen=True)
class Spatial:
    """Which image sizes a model takes.

    Attributes:
        kind: `any` (fully convolutional) or `fixed`.
        size_hw: (height, width) in pixels; set when fixed.
        fit: how a frame of another size meets a fixed model: `resize` or `tile`; set when fixed.
        multiple: height and width must be multiples of this; the runtime pads by reflection. When fixed, tiles begin at
            multiples of it.
        halo: receptive-field radius in pixels: how far a pixel's result depends on its surroundings. 0 for a model of
            any size: not known, so that frames never go in tiles.
    """

    kind: SpatialKind
    size_hw: tuple[int, int] | None = None
    fit: Fit | None = None
    multiple: int = 1
    halo: int = 0


@dataclass(frozen=True)
class DataTerms:
    """The data a model was trained on and the terms that this puts on its weights."""

    name: str
    terms: str


@dataclass(frozen=True)
class Metric:
    """What a model reached in one measure, on one set, under one noise.

    Attributes:
        set: the name of the images that it was measured on.
        measure: its name and unit: `psnr_db`, `ssim`, `mse`, `rmse`, `bce` (nats), `accuracy` (0 to 1) or another.
        value: of the model's results.
        noise: that of the images, in words; `clean`: none; empty: the mean over all noises of the set.
        noisy: the same measure of the noisy images themselves, where it was taken.
        drop: what an exported file lost against Keras, where they were compared.
    """

    set: str
    measure: str
    value: float
    noise: str = ""
    noisy: float | None = None
    drop: float | None = None


@dataclass(frozen=True)
class FloatLayer:
    """A layer that an int8 file computes in float, and what that adds to the file, measured where it was exported.

    Attributes:
        name: of the layer.
        added_ms, added_percent: to the time of a frame, over the file without it; in % of the file all in int8.
        added_bytes: to the size of the file.
    """

    name: str
    added_ms: float
    added_percent: float
    added_bytes: int


@dataclass(frozen=True)
class ModelCard:
    """A model's metadata. Written by the exporter, read by the runtime.

    `labels` may repeat. `softmax`: the scores are logits, whose softmax the runtime takes. `float_layers`: those of an
    int8 file that are not int8.
    `extra` keeps fields that this version does not know.
    """

    name: str
    task: Task
    recipe: str
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    spatial: Spatial
    conditioning: Conditioning
    noise: str
    data: DataTerms
    parameters: int
    macs_per_pixel: float
    license: str
    labels: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    source_sha256: str = ""
    created_with: Mapping[str, str] = field(default_factory=dict)
    trained: Mapping[str, str] = field(default_factory=dict)
    limits: str = ""
    softmax: bool = False
    float_layers: tuple[FloatLayer, ...] = ()
    format: int = FORMAT
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_consistency(self)

    def tensor(self, role: Role, side: Literal["inputs", "outputs"]) -> TensorSpec | None:
        """The tensor with that role, or None."""
        return next((spec for spec in getattr(self, side) if spec.role == role), None)

    @property
    def has_state(self) -> bool:
        """Whether the model remembers the frames before: see `VideoDenoiser`."""
        return self.tensor("state", "inputs") is not None

    @property
    def is_non_commercial(self) -> bool:
        """Whether its terms say that they exclude commercial use."""
        return "non-commercial" in self.license.lower()

    def to_json(self) -> str:
        """The card as JSON, unknown fields included. `parse_card` reads it back."""
        record = asdict(self)
        record |= record.pop("extra")
        for name in ("softmax", "float_layers"):  # few models have them
            if not record[name]:
                del record[name]
        return json.dumps(record, ensure_ascii=False, indent=1)


def parse_card(text: str, *, origin: str) -> ModelCard:
    """Read a card from JSON.

    Args:
        text: the JSON text.
        origin: what to call it in an error, usually the model's path.

    Raises:
        ModelLoadError: not JSON, unknown `format`, or a missing or ill-typed field, which it names.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ModelLoadError(f"{origin}: the model card is not JSON ({exc})") from exc
    if not isinstance(record, dict):
        raise ModelLoadError(f"{origin}: the model card is a JSON {type(record).__name__}, expected an object")
    found = record.get("format")
    if found == 1 and not isinstance(found, bool):
        raise ModelLoadError(
            f'{origin}: model card of format 1, of an earlier version: write "format": {FORMAT}, and metrics, if there '
            'are any, as a list of {"set", "measure", "value"} (docs/model-card.md)'
        )
    if found != FORMAT or isinstance(found, bool):
        raise ModelLoadError(
            f"{origin}: model card format {found!r} is not known here (this version reads {FORMAT}): "
            "upgrade with pip install -U quietframe, or export the model again"
        )
    known = {f.name for f in fields(ModelCard)} - {"extra"}
    extra = {key: value for key, value in record.items() if key not in known}
    try:
        return replace(from_record(record | {"extra": {}}, ModelCard, None), extra=extra)
    except (RecordError, UsageError) as exc:
        raise ModelLoadError(f"{origin}: model card: {exc}") from exc


def read_card_file(path: str | Path) -> ModelCard:
    """Read a card from a JSON file of its own (the `--card` option).

    Raises:
        ModelLoadError: the file cannot be read, or is not a card.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # some editors write a byte-order mark
    except (OSError, ValueError) as exc:  # ValueError: not UTF-8, or no path at all
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise ModelLoadError(f"{path}: cannot read the model card ({reason})") from exc
    return parse_card(text, origin=str(path))


_ROLES: Mapping[str, frozenset[str]] = {
    "inputs": frozenset({"image", "sigma", "state", "confidence"}),
    "outputs": frozenset({"image", "scores", "state", "weight"}),
}
_ROLE_OF_TASK: Mapping[str, Role] = {"denoise": "image", "classify": "scores"}
_LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "image": ("NHWC", "NCHW"),
    "sigma": ("N111", "NHWC", "NCHW"),
    "scores": ("NC",),
    "state": ("NHWC", "NCHW"),
    "confidence": ("NHWC",),
    "weight": ("NHWC",),
}
_CHANNELS = {"BGR": 3, "RGB": 3, "GRAY": 1}
_MAX_MULTIPLE = 1024


def _check_consistency(card: ModelCard) -> None:
    """Raise UsageError for cards whose fields contradict each other, whoever builds them."""
    _check_spatial(card.spatial)
    for side in ("inputs", "outputs"):
        specs = getattr(card, side)
        for index, spec in enumerate(specs):
            where = f"{side}[{index}]"
            if spec.role not in _ROLES[side]:
                raise UsageError(f"{where}.role: {spec.role!r} is not for {side}")
            same_role = [] if spec.role == "state" else [other.role for other in specs[:index]]
            if spec.name in [other.name for other in specs[:index]] or spec.role in same_role:
                raise UsageError(f"{where}: name {spec.name!r} or role {spec.role!r} is there twice")
            _check_tensor(spec, where, card.spatial)
    if card.tensor("image", "inputs") is None:
        raise UsageError("inputs: no tensor has the role 'image'")
    scores = card.tensor("scores", "outputs")
    for task, role in _ROLE_OF_TASK.items():
        if task in card.task and card.tensor(role, "outputs") is None:
            raise UsageError(f"outputs: task {card.task!r} needs a tensor with the role {role!r}")
    if scores is not None and len(card.labels) != scores.channels:
        raise UsageError(f"labels: {len(card.labels)} labels for {scores.channels} scores")
    if card.softmax and scores is None:
        raise UsageError("softmax: no output has the role 'scores'")
    if (card.conditioning == "sigma") != (card.tensor("sigma", "inputs") is not None):
        raise UsageError(f"conditioning: {card.conditioning!r} does not fit the inputs")
    _check_states(card)


def _check_states(card: ModelCard) -> None:
    """Every state has one place that it comes from: an output, or the runtime."""
    states = [spec.name for spec in card.inputs if spec.role == "state"]
    fed = [spec.feeds for spec in card.outputs if spec.role == "state"]
    kept = [card.tensor("confidence", "inputs"), card.tensor("weight", "outputs")]
    if any(kept):
        if not all(kept) or fed or len(states) != 1:
            raise UsageError("inputs: a confidence and a weight belong together, with one state and no output for it")
    elif sorted(map(str, fed)) != sorted(states):
        raise UsageError(f"outputs: states feed {fed}, the inputs with the role 'state' are {states}")


def _check_tensor(spec: TensorSpec, where: str, spatial: Spatial) -> None:
    if spec.layout not in _LAYOUTS[spec.role]:
        raise UsageError(f"{where}.layout: {spec.layout} is not for {spec.role}")
    if spec.value_range[0] >= spec.value_range[1]:
        raise UsageError(f"{where}.value_range: {spec.value_range} is empty")
    if spec.role == "image" and spec.channels != _CHANNELS.get(spec.colour or ""):
        raise UsageError(
            f"{where}: an image needs colour BGR or RGB with 3 channels, or GRAY with 1; "
            f"found colour {spec.colour} and {spec.channels} channels"
        )
    if spec.mean or spec.deviation:
        counts = len(spec.mean), len(spec.deviation)
        if spec.role != "image" or counts != (spec.channels, spec.channels) or min(spec.deviation) <= 0:
            raise UsageError(
                f"{where}: mean and deviation are of images, one number for each of the {spec.channels} channels, and "
                f"deviations are greater than 0; found {list(spec.mean)} and {list(spec.deviation)}"
            )
    if spec.channels < 1 or (spec.role in ("sigma", "confidence", "weight") and spec.channels != 1):
        raise UsageError(f"{where}.channels: {spec.channels} is not for {spec.role}")
    sizes: tuple[int, ...] = (1,)
    is_number = spec.role == "sigma" and spec.layout == "N111"
    if spec.role not in ("image", "scores") and not is_number:  # its stride goes into all sizes, and where tiles begin
        sizes = spatial.size_hw if spatial.size_hw and spatial.fit == "resize" else (spatial.multiple,)
    if spec.stride < 1 or any(size % spec.stride for size in sizes):
        raise UsageError(f"{where}.stride: {spec.stride} does not fit {spec.layout} and spatial")


def _check_spatial(spatial: Spatial) -> None:
    if not 1 <= spatial.multiple <= _MAX_MULTIPLE or min(spatial.size_hw or (1,)) < 1 or spatial.halo < 0:
        raise UsageError(f"spatial: sizes must be at least 1, halo at least 0, multiple between 1 and {_MAX_MULTIPLE}")
    if spatial.kind == "any":
        return
    if spatial.size_hw is None or spatial.fit is None:
        raise UsageError("spatial: a fixed model needs size_hw and fit")
    if any(size % spatial.multiple for size in spatial.size_hw):
        raise UsageError(f"spatial: size_hw {spatial.size_hw} is not a multiple of {spatial.multiple}")
    if spatial.fit == "tile" and 2 * spatial.halo + -2 * spatial.halo % spatial.multiple >= min(spatial.size_hw):
        raise UsageError(f"spatial: a halo of {spatial.halo} leaves nothing of tiles of {spatial.size_hw}")

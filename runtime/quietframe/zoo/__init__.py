"""The built-in models: files named NAME.PRECISION.SUFFIX in this folder, found by name."""

from __future__ import annotations

import difflib
from importlib.util import find_spec
from pathlib import Path

from quietframe.engines import ENGINES
from quietframe.errors import ModelLoadError

ALIASES = {"camera": "camera-small", "video": "video-small", "digits": "digit-cnn", "digit-denoiser": "digit-unet"}
"""Short names, and the built-in model that each stands for: the best one for that task."""

_FOLDER = Path(__file__).parent


def builtin_models() -> dict[str, Path]:
    """Names of the built-in models that can run here and their files, sorted.

    A bare name stands for the int8 TFLite file; others are named in full (`camera-nano.fp32.onnx`). Files whose
    engine's package is not installed are left out.
    """
    runs = {suffix for suffix, engine in ENGINES.items() if find_spec(engine.package)}
    return {name: path for name, path in _files().items() if path.suffix in runs}


def _files() -> dict[str, Path]:
    paths = sorted(path for path in _FOLDER.iterdir() if path.suffix in ENGINES)
    return {path.name.removesuffix(".int8.tflite"): path for path in paths}


def is_builtin(path: Path) -> bool:
    """Return whether a file lies where the built-in models do."""
    return path.absolute().parent == _FOLDER.absolute()


def camera_models(*, video: bool = False) -> list[str]:
    """Names of the built-in denoisers for camera frames of any size, in no order. video: those that remember, too."""
    families = ("camera-", "video-") if video else ("camera-",)
    return [name for name in builtin_models() if name.startswith(families) and "." not in name]


def find_model(model: str | Path) -> Path:
    """The file of a built-in model by name, or the path that was given.

    Raises:
        ModelLoadError: neither a built-in name nor an existing file; names the nearest built-in one.
    """
    path = Path(model)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as exc:  # a name that is too long, or a folder that may not be looked into
        raise ModelLoadError(f"{model}: cannot be read ({exc.strerror})") from exc
    if is_file and path.suffix.lower() in ENGINES:
        return path  # a file is meant, even if a built-in one has the same name
    known = _files()
    name = ALIASES.get(str(model), str(model))
    if name in known:
        return known[name]
    if is_file:
        return path
    if is_folder:
        raise ModelLoadError(f"{path}: is a folder, expected {_expected_of(path)}")
    others = [other for other in (*known, *ALIASES) if other != str(model)]
    near = difflib.get_close_matches(str(model), others, n=1, cutoff=0.5)
    if near and path.parent == Path() and path.suffix.lower() not in ENGINES:
        raise ModelLoadError(f"unknown model {str(model)!r}: did you mean {near[0]!r}?")
    names = ", ".join(known) or "none"
    raise ModelLoadError(f"{model}: no such model file, nor a built-in model (there are: {names})")


def _expected_of(folder: Path) -> str:
    """What to pass instead of a folder: of a training, the file that was exported from it."""
    try:
        exported = sorted(path for path in (folder / "export").iterdir() if path.suffix in ENGINES)
    except OSError:
        exported = []
    exported.sort(key=lambda path: not path.name.endswith(".int8.tflite"))
    if exported:
        return f"a model file, such as {exported[0]}"
    if (folder / "model.keras").is_file():
        return f"a model file: export this training first (quietframe export {folder})"
    return "a model file"

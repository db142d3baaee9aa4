"""What comes with an installation: pinned files, and code that no data can run."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKED_EXTRAS = ("onnx", "serve")


# The lock files: see `make lock`


def pins(name: str) -> dict[str, tuple[Requirement, int]]:
    """The requirements of a lock file and how many hashes each has, by the package's name."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / name).read_text(encoding="utf-8")):
        lines = [line.strip(" \\") for line in entry.splitlines() if not line.lstrip().startswith("#")]
        if lines:
            requirement = Requirement(lines[0].partition(" #")[0])
            hashes = [line for line in lines[1:] if re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line)]
            assert len(hashes) == len(lines) - 1, lines
            found[canonicalize_name(requirement.name)] = requirement, len(hashes)
    return found


@pytest.mark.parametrize("file", ["requirements-runtime.lock", "requirements-dev.lock"])
def test_a_lock_file_pins_what_the_project_asks_for(file):
    of_project, locked = PROJECT["project"], pins(file)
    extras = of_project["optional-dependencies"]
    chosen = LOCKED_EXTRAS if "runtime" in file else extras
    stated = [*of_project["dependencies"], *(line for extra in chosen for line in extras[extra])]
    for requirement in map(Requirement, stated):
        if requirement.name != "quietframe":
            pin, _ = locked[canonicalize_name(requirement.name)]
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            assert requirement.specifier.contains(specifier.version, prereleases=True), f"{pin}, asked: {requirement}"


def test_the_runtimes_lock_has_hashes_and_the_versions_that_are_tested():
    runtime, dev = pins("requirements-runtime.lock"), pins("requirements-dev.lock")
    assert all(hashes for _, hashes in runtime.values())
    assert {name: pin.specifier for name, (pin, _) in runtime.items()} == {
        name: dev[name][0].specifier for name in runtime
    }


# What could run code that came as data

MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "torch"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {"os.system", "os.popen", "tempfile.mktemp"}
OPTIONS = {"allow_pickle": True, "shell": True, "safe_mode": False}
ALLOWED = {
    ("tflite_converter.py", "pickle"): "a task for a process of its own, in a folder that its user alone can enter",
}


def dangers(tree: ast.AST) -> Iterator[str]:
    """What in a file could run code that came as data."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from {name.name.partition(".")[0] for name in names} & MODULES
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in MODULES:
                yield module.partition(".")[0]
            case ast.Call(func=ast.Name(id=name)) if name in BUILTINS:
                yield name
            case ast.Call(func=ast.Attribute()) if ast.unparse(node.func) in CALLS:
                yield ast.unparse(node.func)
        if isinstance(node, ast.Call):
            for option in node.keywords:
                if option.arg in OPTIONS and ast.unparse(option.value) == str(OPTIONS[option.arg]):
                    yield f"{option.arg}={OPTIONS[option.arg]}"


def test_no_code_of_the_wheel_runs_what_came_as_data():
    files = [
        path
        for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        for path in (ROOT / package).rglob("*.py")
    ]
    found = {(path.name, danger) for path in files for danger in dangers(ast.parse(path.read_text(encoding="utf-8")))}
    assert found == set(ALLOWED)
    assert len(files) > 100


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import os, yaml as y",
        "from torch import load",
        "def f():\n    import shelve",
        "from marshal import loads",
        "eval('1')",
        "exec(code, {})",
        "__import__(name)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "keras.models.load_model(path, safe_mode=False)",
        "os.system(line)",
    ],
)
def test_the_check_sees(code):
    assert list(dangers(ast.parse(code)))


@pytest.mark.parametrize("code", ["model.compile()", "re.compile('a')", "np.load(p, allow_pickle=False)", "import ast"])
def test_the_check_leaves_what_is_harmless(code):
    assert not list(dangers(ast.parse(code)))

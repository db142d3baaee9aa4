"""What importing the benchmarks brings along."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import quietframe_bench


def loaded_after(code: str) -> set[str]:
    """The top-level packages that a fresh process has imported after some code."""
    code = f"{code}\nimport sys\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_the_room_imports_no_framework_and_no_other_room():
    """The contract in CONTRIBUTING.md, and what is imported inside functions alone."""
    root = Path(quietframe_bench.__file__).parent
    modules = [f"quietframe_bench.{path.stem}" for path in root.glob("[!_]*.py")]
    modules += [f"quietframe_bench.kinds.{path.stem}" for path in root.glob("kinds/[!_]*.py")]
    assert len(modules) > 20
    loaded = loaded_after("\n".join(f"import {module}" for module in modules))
    assert "quietframe_bench" in loaded
    assert not loaded & {"quietframe_train", "quietframe_export", "keras", "tensorflow", "matplotlib", "bm3d", "onnx"}


def test_the_group_is_light_until_a_kind_is_used():
    assert not loaded_after("from quietframe_bench.cli import bench") & {"numpy", "cv2", "msgspec", "psutil", "jinja2"}


def test_the_public_functions_are_reached_by_name():
    assert all(getattr(quietframe_bench, name) is not None for name in quietframe_bench.__all__)
    assert callable(quietframe_bench.speed) and callable(quietframe_bench.compare)


def imports_of(path: Path) -> set[str]:
    """The modules of this package that a file imports, inside functions too; not those for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("quietframe_bench"):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_module_imports_another_in_a_circle():
    root = Path(quietframe_bench.__file__).parent
    names = {f"quietframe_bench.{path.relative_to(root).with_suffix('').as_posix().replace('/', '.')}": path
             for path in root.rglob("*.py") if path.stem != "__init__"}  # fmt: skip
    arrows = {name: imports_of(path) & names.keys() for name, path in names.items()}
    assert "quietframe_bench.profiles" in arrows["quietframe_bench.onnx_profile"]
    while leaves := [name for name, targets in arrows.items() if not targets]:
        for leaf in leaves:
            del arrows[leaf]
        for targets in arrows.values():
            targets.difference_update(leaves)
    assert arrows == {}

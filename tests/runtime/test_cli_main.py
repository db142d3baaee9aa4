"""The command line as a whole: what it lists, how it fails, and what it says where an extra is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

from quietframe.cli import main

OWN_COMMANDS = ["denoise", "classify", "models", "info", "doctor", "demo"]
EXTRA_OF = {"train": "train", "export": "export", "bench": "bench"}

# Hides modules as if they were not installed: each finder answers for the others only.
WITHOUT = """
import sys
hidden = {hidden!r}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from quietframe.cli import main
main({args!r})
"""
HIDDEN = {"tensorflow", "keras", "jax", "matplotlib", "onnx", "onnxruntime", "tf2onnx", "psutil", "scipy"}
HIDDEN |= {"msgspec", "jinja2"}


def without_extras(*args: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(hidden=HIDDEN, args=list(args))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def in_process(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    captured = capsys.readouterr()
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code, captured.out, captured.err


def assert_one_line(text: str) -> None:
    assert text.startswith("quietframe: error: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")


def test_help_lists_the_commands_of_every_room(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "--help")
    assert (code, err) == (0, "")
    for name in [*OWN_COMMANDS, *EXTRA_OF]:
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", [*OWN_COMMANDS, *EXTRA_OF])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: quietframe {name} ")


def test_help_without_the_extras_shows_their_commands_and_the_install() -> None:
    done = without_extras("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name, extra in EXTRA_OF.items():
        assert f"\n  {name} " in done.stdout
        assert f"'quietframe[{extra}]'" in done.stdout


@pytest.mark.parametrize("name", EXTRA_OF)
def test_help_of_a_command_whose_extra_is_missing(name: str) -> None:
    done = without_extras(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: quietframe {name} ")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("train", ["camera-nano"]),
        ("export", ["model.keras", "--to", "onnx-fp32"]),
        ("bench", ["speed", "camera-nano"]),
    ],
)
def test_running_a_command_whose_extra_is_missing_names_the_install(name: str, args: list[str]) -> None:
    done = without_extras(name, *args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert_one_line(done.stderr)
    assert f"is not installed: pip install 'quietframe[{EXTRA_OF[name]}]'" in done.stderr


def test_the_other_rooms_are_found_by_entry_points() -> None:
    assert {point.name for point in entry_points(group="quietframe.commands")} == set(EXTRA_OF)


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "denoize", "photo.jpg")
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert "'denoize'" in err


def test_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "models", "--jsn")
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert "--json" in err
    assert "quietframe models --help" in err


def test_an_error_is_one_line_even_if_its_message_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "info", "no\nsuch\nmodel.tflite")
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert "no such model.tflite" in err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = in_process(capsys, "--version")
    assert code == 0
    assert version("quietframe") in out


def test_python_dash_m() -> None:
    done = subprocess.run([sys.executable, "-m", "quietframe", "nope"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr)

"""The command line as a whole: what it lists, how it fails, and what it says where an extra is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

from support.process import run_python

OWN_COMMANDS = ["denoise", "classify", "serve", "calibrate", "models", "info", "doctor", "demo"]
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
    return run_python("-c", WITHOUT.format(hidden=HIDDEN, args=list(args)), check=False)


def assert_one_line(text: str) -> None:
    assert text.startswith("quietframe: error: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")


def test_help_lists_the_commands_of_every_room(cli):
    code, out, err = cli("--help")
    assert (code, err) == (0, "")
    for name in [*OWN_COMMANDS, *EXTRA_OF, "card"]:
        assert f"\n  {name} " in out


@pytest.mark.parametrize("args", [[], ["bench"]])
def test_without_a_command_the_help_is_shown(args, cli):
    code, out, err = cli(*args)
    assert (code, out) == (2, "")
    assert err == cli(*args, "--help").out


@pytest.mark.parametrize("name", [*OWN_COMMANDS, *EXTRA_OF, "card"])
def test_every_command_has_help(name, cli):
    code, out, err = cli(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: quietframe {name} ")


def test_help_without_the_extras_shows_their_commands_and_the_install():
    done = without_extras("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name, extra in EXTRA_OF.items():
        assert f"\n  {name} " in done.stdout
        assert f"'quietframe[{extra}]'" in done.stdout


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("train", ["camera-nano"]),
        ("export", ["model.keras", "--to", "onnx-fp32"]),
        ("bench", ["speed", "camera-nano"]),
    ],
)
def test_a_command_whose_extra_is_missing_has_help_and_names_the_install(name, args):
    done = without_extras(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: quietframe {name} ")
    done = without_extras(name, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr)
    assert f"is not installed: pip install 'quietframe[{EXTRA_OF[name]}]'" in done.stderr


def test_the_other_rooms_are_found_by_entry_points():
    assert {point.name for point in entry_points(group="quietframe.commands")} == {*EXTRA_OF, "card"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("denoize", "photo.jpg"), ["'denoize'", "Did you mean 'denoise'?"]),
        (("trian",), ["Did you mean 'train'?"]),
        (("xyzzy",), ["No such command 'xyzzy'. (see quietframe --help)"]),
        (("models", "--jsn"), ["--json", "quietframe models --help"]),
        (("info", "no\nsuch\nmodel.tflite"), ["no such model.tflite"]),  # one line even if its message is not
    ],
)
def test_a_mistake_is_one_line(cli, args, says):
    code, out, err = cli(*args)
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert all(words in err for words in says)


@pytest.mark.parametrize("args", [("info", "no such model.tflite", "--json"), ("models", "--json", "--jsn")])
def test_an_error_is_json_where_json_is_asked_for(cli, args):
    code, out, err = cli(*args)
    assert code == 2
    assert_one_line(err)
    assert err.startswith(f"quietframe: error: {json.loads(out)['error']}")


def test_the_version(cli):
    code, out, _ = cli("--version")
    assert code == 0
    assert version("quietframe") in out


def test_python_dash_m():
    done = run_python("-m", "quietframe", "nope", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr)


@pytest.mark.parametrize("command", ["models", "classify test:?frames=1", "denoise test:?frames=2 -o null"])
def test_a_closed_standard_error_is_no_obstacle(command):
    code = "import sys; from quietframe.cli import main; main(sys.argv[1:])"
    shell = ["/bin/sh", "-c", 'exec "$0" -c "$@" 2>&-', sys.executable, code, *command.split()]
    assert subprocess.run(shell, stdout=subprocess.DEVNULL, check=False).returncode == 0

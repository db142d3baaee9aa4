"""The file of `quietframe serve`: what is read, and that errors name the line and the key."""

from __future__ import annotations

import re
from datetime import time
from pathlib import Path

import pytest

from quietframe.errors import UsageError
from quietframe.pipeline import PipelineConfig
from quietframe.serve import Period, read_config
from quietframe.serve.config import _SHARED_KEYS, line_of

WHOLE = """\
# A comment
[server]
address = "127.0.0.1:0"

[defaults]
max_fps = 5
model = [
    "camera-nano",  # by day
]

[[camera]]
name = "yard"
source = "rtsp://me:hunter2@10.0.0.9/live"
outputs = ["rtsp://localhost:8554/{name}", "{name}-{time}.mkv"]

[[camera.schedule]]
from = "18:30"
to = 07:00:00
model = "video"
strength = 1.5

[[camera]]
name = "shed"
source = "0"
max_fps = 2.5
threads = 2
"""


@pytest.fixture
def read(tmp_path):
    """Read a text as a file."""

    def read(text: str):
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return read_config(path)

    return read


def test_a_whole_file(read):
    config = read(WHOLE)
    yard, shed = config.cameras
    assert (config.address, config.token, config.cores) == ("127.0.0.1:0", None, None)
    assert (yard.name, yard.model, shed.model) == ("yard", "camera-nano", "camera-nano")
    assert yard.outputs == ("rtsp://localhost:8554/yard", "yard-{time}.mkv")
    assert yard.pipeline == PipelineConfig(max_fps=5, threads=1)
    assert shed.pipeline == PipelineConfig(max_fps=2.5, threads=2)
    (night,) = yard.schedule
    assert night == Period(time(18, 30), time(7), {"strength": 1.5, "model": "video-small"} | {"strength": 1.5})
    assert yard.settings(None) == {"model": "camera-nano", "strength": 1.0, "paused": False}
    assert yard.settings(night) == {"model": "video-small", "strength": 1.5, "paused": False}
    assert "hunter2" not in repr(config)


def test_the_docs_example_is_read(read):
    page = Path(__file__).parents[3] / "docs/serve.md"
    if not page.is_file():
        pytest.skip("the documentation is not here")
    example = page.read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]
    assert [camera.name for camera in read(example.replace('token_file = "', '# "')).cameras]


@pytest.mark.parametrize(
    ("period", "inside", "outside"),
    [
        (Period(time(8), time(17), {}), [time(8), time(16, 59)], [time(7, 59), time(17), time(0)]),
        (Period(time(18), time(7), {}), [time(18), time(23, 59), time(0), time(6, 59)], [time(7), time(17, 59)]),
    ],
)
def test_a_period_holds_from_its_beginning_up_to_its_end(period, inside, outside):
    assert all(map(period.holds, inside))
    assert not any(map(period.holds, outside))


CAMERA = '[[camera]]\nname = "a"\nsource = "0"\n'


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "camera: Expected at least one table [[camera]]"),
        ("[server]\naddress = 8080\n", 2, "server.address: Expected a text. Received: 8080"),
        ('[server]\n\naddress = "a b"\n' + CAMERA, 3, "server.address: Expected an address as in 127.0.0.1:8080"),
        ('[server]\ntoken_file = "/nowhere/at/all"\n', 2, "server.token_file: /nowhere/at/all: cannot be read"),
        ("[server]\ncores = 0\n", 2, "server.cores: Expected a whole number of at least 1. Received: 0"),
        ("[cameras]\nx = 1\n", 1, "cameras: unknown key: did you mean 'camera'?"),
        ('[[camera]]\nsource = "0"\n', 1, "camera.name: is missing"),
        (CAMERA + '\n[[camera]]\n# \nname = "b"\n', 5, "camera.source: is missing"),
        (CAMERA.replace('"a"', '"a b"'), 2, "camera.name: Expected up to 64 letters, digits, - and _, the first"),
        (CAMERA + CAMERA, 5, "camera.name: 'a' is there already"),
        (CAMERA + "max_fps = 'five'\n", 4, "camera.max_fps: Expected max_fps to be a number in [0.1, 1000]"),
        (CAMERA + "fps = 5\n", 4, "camera.fps: unknown key: did you mean 'max_fps'?"),
        ('"a\\nb" = 1\n' + CAMERA, 1, "'a\\nb': unknown key: expected any of server, defaults, camera"),
        (CAMERA.replace('"0"', '"rtps://me:x@a/b"'), 3, "camera.source: rtps://***@a/b: no address that is supported"),
        (CAMERA.replace('"0"', '"/dev/video0?siez=1x1"'), 3, "camera.source: /dev/video0?siez=1x1: unknown setting"),
        (CAMERA.replace('"0"', '"-"'), 3, "camera.source: standard input cannot be opened again"),
        (CAMERA.replace('"0"', '"a\\u0000b"'), 3, "camera.source: Expected a text without control characters"),
        (CAMERA + "sinks = ''\n", 4, "camera.sinks: unknown key: expected any of name, source, model, outputs"),
        (CAMERA + "strength = 3\n", 4, "camera.strength: Expected strength in [0, 2]. Received: 3"),
        (CAMERA + "overwrite = 1\n", 4, "camera.overwrite: Expected overwrite to be True or False. Received: 1"),
        (CAMERA + "encoder = 1\n", 4, "camera.encoder: Expected a text. Received: 1"),
        (CAMERA + "codec = 'h264'\nencoder = 'x'\n", 5, "camera.encoder: codec and encoder exclude each other"),
        (CAMERA + 'model = "camera-nan"\n', 4, "camera.model: unknown model 'camera-nan': did you mean 'camera-nano'?"),
        (CAMERA + 'model = "camera,,"\n', 4, "camera.model: Expected a model, or several with commas between"),
        (CAMERA + 'model = "auto,camera"\n', 4, "camera.model: auto chooses among the built-in models: name it alone"),
        (CAMERA + 'card = "c.json"\n', 4, "camera.card: describes one model"),
        (
            CAMERA + 'model = "camera"\ncard = "c.json"\nschedule = [{from = "01:00", to = "02:00", model = "video"}]',
            5,
            "camera.card: describes one model",
        ),
        (CAMERA + "crf = 20\n", 4, "camera.crf: is for videos, and no output is one"),
        (CAMERA + 'outputs = "{time}.txt"\n', 4, "camera.outputs: {time}.txt: a video needs a file name with one of"),
        (CAMERA + 'outputs = "{time}%d%d.png"\n', 4, "camera.outputs: {time}%d%d.png: expected one place for the"),
        (CAMERA + 'outputs = "http://me:x@a/b"\n', 4, "camera.outputs: http://***@a/b: no address that can be written"),
        (CAMERA + 'codec = "hevc"\noutputs = "{time}.avi"\n', 5, "camera.outputs: {time}.avi: avi does not hold hevc"),
        (CAMERA + 'outputs = "{camera}-{time}.mkv"\n', 4, "camera.outputs: {camera} stands for nothing"),
        (CAMERA + 'outputs = "~/{time}.mkv"\n', 4, "camera.outputs: ~ is known to shells alone"),
        (CAMERA + 'stats_file = "a.json"\n', 4, "camera.stats_file: a camera that comes back begins a new file"),
        (CAMERA + 'outputs = [\n  "a.mkv",\n]\n', 4, "camera.outputs: a camera that comes back begins a new file"),
        (CAMERA + 'outputs = "-"\n', 4, "camera.outputs: standard output cannot be shared"),
        (
            '[defaults]\noutputs = "udp://10.0.0.1:5000"\n' + CAMERA + CAMERA.replace('"a"', '"b"'),
            6,
            "camera.outputs: udp://10.0.0.1:5000: a writes there already: put {name} into it",
        ),
        (
            CAMERA + 'outputs = "b/../{time}.mkv"\n' + CAMERA.replace('"a"', '"b"') + 'outputs = "{time}.mkv"',
            8,
            "camera.outputs: {time}.mkv: a writes there already",
        ),
        (
            '[defaults]\nstats_file = "{time}.json"\n' + CAMERA + CAMERA.replace('"a"', '"b"'),
            6,
            "camera.stats_file: {time}.json: a writes there already",
        ),
        ("[defaults]\n# \nquality = 101\n" + CAMERA, 3, "defaults.quality: Expected quality to be"),
        ("[defaults]\nname = 'x'\n" + CAMERA, 2, "defaults.name: unknown key"),
        (CAMERA + '[[camera.schedule]]\nfrom = "25:00"\n', 5, "camera.schedule.from: Expected a local time such as"),
        (CAMERA + '[[camera.schedule]]\nfrom = "20:00Z"\n', 5, "camera.schedule.from: Expected a local time such as"),
        (CAMERA + '[[camera.schedule]]\nfrom = "20:00"\n', 4, "camera.schedule.to: is missing"),
        (
            CAMERA + '[[camera.schedule]]\nfrom = "20:00"\nto = "20:00"\npaused = true',
            6,
            "camera.schedule.to: Expected another time than from",
        ),
        (CAMERA + '[[camera.schedule]]\nfrom = "20:00"\nto = "21:00"\n', 4, "camera.schedule: changes nothing"),
        (
            CAMERA + '[[camera.schedule]]\nfrom = "20:00"\nto = "21:00"\npaused = "yes"\n',
            7,
            "camera.schedule.paused: Expected paused to be true or false. Received: 'yes'",
        ),
        ("[server]\naddress = \n", 2, "not TOML: Invalid value"),
        (CAMERA + '[[camera]\nname = "b"\n', 4, "not TOML: Expected ']]'"),
        (CAMERA + "outputs = [\n", 5, "not TOML: Invalid value"),
    ],
)  # fmt: skip
def test_errors_name_the_line_and_the_key(read, tmp_path, text, line, says):
    with pytest.raises(UsageError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{tmp_path}/config.toml:{line}: {says}")
    assert "\n" not in str(caught.value)


def test_defaults_for_outputs_leave_cameras_without_any_alone(read):
    shown, recorded = read(
        f'[defaults]\ncrf = 28\n{CAMERA}{CAMERA.replace(chr(34) + "a", chr(34) + "b")}outputs = "{{time}}.mkv"'
    ).cameras
    assert (shown.pipeline.crf, recorded.pipeline.crf) == (None, 28)


def test_a_byte_order_mark_is_no_part_of_the_text(read):
    assert read("\ufeff" + CAMERA).cameras[0].name == "a"


DOCUMENTATION = Path(__file__).parents[3].joinpath("docs/serve.md").read_text(encoding="utf-8")


def test_the_documentation_s_example_is_read_and_its_errors_are_those(read, tmp_path):
    (tmp_path / "token").write_text("a-token-of-one-s-own\n")
    example = DOCUMENTATION.partition("```toml\n")[2].partition("```")[0].replace("/etc/quietframe", str(tmp_path))
    assert [camera.name for camera in read(example).cameras] == ["yard", "bird-box"]
    errors = re.findall("^quietframe: error: cameras.toml(.*)", DOCUMENTATION, re.MULTILINE)
    for said, was, wrong in zip(
        errors, ("max_fps = 5 ", 'model = "camera-'), ("max_fps = 'five'", 'modle = "camera-'), strict=True
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            read(example.replace(was, wrong))


def test_the_documentation_names_all_keys_and_no_others():
    table = DOCUMENTATION.partition("| `[[camera]]` | |")[2].partition("\n\n")[0]
    named = {key for row in table.splitlines()[2:] for key in re.findall("`(\\w+)`", row.split("|")[1])}
    assert named == {"name", "source", *_SHARED_KEYS}


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read \(No such file or directory\)"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("server", "address"), 3),
        (("defaults", "model"), 7),
        (("camera", 0, "schedule", 0, "to"), 18),
        (("camera", 1), 22),
        (("camera", 1, "name"), 23),
        (("camera", 1, "lacks"), 22),
        (("nothing",), 1),
    ],
)
def test_lines_are_found(keys, line):
    assert line_of(WHOLE, keys) == line


def test_lines_are_found_in_every_form_of_toml():
    text = 'a."b c" = 1\nd = { e = 2 }\nf = """\n[g]\nh = 1\n"""\n[g]\nh.i = [\n1,\n]\n'
    assert [line_of(text, keys) for keys in [("a", "b c"), ("d", "e"), ("f",), ("g", "h", "i", 0)]] == [1, 2, 3, 8]

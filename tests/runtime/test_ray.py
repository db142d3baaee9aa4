"""`--ray`: archives on Ray Data, with two worker processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietframe.archive.places import find
from support.images import files_below, random_frame, write_image
from support.stream_servers import wait_until

Cli = Callable[..., Any]

SCENE = "test:?size=64x48&fps=12.5&frames=6&sigma=20"

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray: sockets that it leaves open, and its future


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray with room for two workers, started once: a command uses what its process is connected to."""
    ray = pytest.importorskip("ray", reason="--ray needs the extra ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    signal.signal(signal.SIGTERM, handler)
    yield ray
    ray.shutdown()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder of 21 images, one of them damaged, in two folders; one has a name that is not UTF-8."""
    folder = tmp_path / "archive"
    for number in range(20):
        name = f"{'night/' if number % 2 else ''}{number:02}.{'jpg' if number % 3 else 'png'}"
        write_image(folder / name, random_frame(48, 64, 3, seed=number))
    (folder / "00.png").rename(os.fsdecode(bytes(folder) + b"/\xff.png"))
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """The results in a folder and below, by name; hidden files as well."""
    return {name: (folder / name).read_bytes() for name in files_below(folder) if not name.endswith(".jsonl")}


def listed(file: Path) -> list[dict[str, str]]:
    """The failures that a run left."""
    return [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]


def test_results_have_the_bytes_of_the_plain_command(cluster, tmp_path, cli, archive, denoiser_file):
    options = ("-m", denoiser_file, "--quality", 80)
    assert cli("denoise", archive, "-o", tmp_path / "plain", *options).code == 1
    assert cli("denoise", SCENE, "-o", archive / "clip.mp4", "-m", denoiser_file).code == 0
    clip = tmp_path / "plain/clip.mp4"
    assert cli("denoise", archive / "clip.mp4", "-o", clip, "-m", denoiser_file, "--crf", 30).code == 0

    result = cli("denoise", archive, "-o", tmp_path / "out", *options, "--crf", 30, "--ray", "--workers", 2, "--json")
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")
    summary = json.loads(result.out)
    assert result.code == 1
    assert (summary["files"], summary["frames"], summary["skipped"], summary["workers"]) == (21, 26, 0, 2)

    # The bad file is named, on standard error and in a file, and the next run tries it alone.
    bad = {"path": str(archive / "bad.png"), "error": f"{archive}/bad.png: not an image, or a damaged one"}
    assert summary["failures"] == listed(tmp_path / "out/failures.jsonl") == [bad]
    assert result.error_lines[0] == f"quietframe: error: {bad['error']}"
    assert "21 files (26 frames), 1 failed" in result.error_lines[-1] and result.err.count("\n") == 2
    write_image(archive / "bad.png", 100)
    again = cli("denoise", archive, "-o", tmp_path / "out", *options, "--crf", 30, "--ray", "--skip-existing", "--json")
    summary = json.loads(again.out)
    assert (again.code, summary["files"], summary["skipped"]) == (0, 1, 21)
    assert not (tmp_path / "out/failures.jsonl").exists()
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "plain").keys() | {"bad.png"}


def test_a_killed_worker_loses_nothing(cluster, tmp_path, cli, denoiser_file):
    psutil = pytest.importorskip("psutil")
    folder, out = tmp_path / "archive", tmp_path / "out"
    for number in range(64):
        write_image(folder / f"{number:02}.png", random_frame(480, 640, 3, seed=number))
    assert cli("denoise", folder, "-o", tmp_path / "plain", "-m", denoiser_file).code == 0
    done_at_kill = []

    def kill() -> None:
        if wait_until(lambda: any(out.glob("*.png")), 300):
            workers = [
                process
                for process in psutil.Process().children(recursive=True)
                if process.cmdline()[:1] == ["ray::MapWorker(FlatMap(DenoiseWorker)).submit"]
            ]
            workers[0].kill()
            done_at_kill.append(len(list(out.glob("*.png"))))

    killer = threading.Thread(target=kill)
    killer.start()
    result = cli("denoise", folder, "-o", out, "-m", denoiser_file, "--ray", "--workers", 2)
    killer.join()
    assert 0 < done_at_kill[0] < 60
    assert result.code == 0 and len(result.error_lines) == 1, result.err
    assert contents(out) == contents(tmp_path / "plain")


@pytest.mark.long
def test_a_file_that_ends_its_worker_is_named_and_the_others_are_done(cluster):
    from quietframe.archive.places import Item
    from quietframe.archive.scheduler import cluster as connected
    from quietframe.archive.workers import Row, Worker

    class Fragile(Worker):  # in a function, so that its code and not its name goes to the workers
        def __init__(self, task: str) -> None:
            super().__init__(1)
            self._poison = task

        def work(self, item: Item) -> list[Row]:
            if item.name == self._poison:
                os.kill(os.getpid(), signal.SIGSEGV)
            return [{}]

        def blank(self) -> Row:
            return {}

    items = [Item("", f"/archive/{number}", str(number)) for number in range(40)]
    with connected("local", 2, 1) as pool:
        rows = list(pool.run(items, lambda _item: False, Fragile, "17", lambda _done, _total: None))
    assert sorted(row["place"] for row in rows) == list(range(40))
    (failed,) = [row for row in rows if row["error"]]
    assert failed["place"] == 17 and failed["error"].startswith("/archive/17: the worker process ended 3 times")


@pytest.fixture
def store() -> Iterator[tuple[Any, Callable[[str], str]]]:
    """An S3 server with a bucket `frames`: pyarrow's file system, and a function that gives the address of a path."""
    server_of = pytest.importorskip("moto.server", reason="a local S3 server needs moto")
    fs = pytest.importorskip("pyarrow.fs")
    server = server_of.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host = "{}:{}".format(*server.get_host_and_port())
    settings = {"endpoint_override": host, "scheme": "http", "region": "us-east-1"}
    keys = {"access_key": "key", "secret_key": "secret"}
    system = fs.S3FileSystem(**keys, **settings, allow_bucket_creation=True, allow_delayed_open=True)
    system.create_dir("frames")
    query = "&".join(f"{name}={value}" for name, value in settings.items())
    yield system, lambda path: f"s3://key:secret@frames/{path}?{query}"
    server.stop()


def test_object_storage(cluster, tmp_path, cli, store, denoiser_file):
    system, address = store
    folder, names = tmp_path / "archive", ["1.png", "a/2 & 3?#%20.png", "a/.hidden.png", "a/notes.md"]
    for number, name in enumerate(names[:3]):
        write_image(folder / name, random_frame(48, 64, 3, seed=number))
    (folder / "bad.png").write_bytes(b"no image")
    for file in ("bad.png", *names[:3]):
        with system.open_output_stream(f"frames/in/{file}") as stream:
            stream.write((folder / file).read_bytes())
    assert cli("denoise", folder, "-o", tmp_path / "plain", "-m", denoiser_file).code == 1

    args = ("denoise", address("in"), "-o", address("clean"), "-m", denoiser_file, "--ray", "--workers", 2)
    result = cli(*args)
    assert result.code == 1 and "s3://***@frames/in/bad.png: not an image" in result.err
    assert "secret" not in result.err
    for name in names[:2]:
        with system.open_input_stream(f"frames/clean/{name}") as stream:
            assert stream.read() == (tmp_path / "plain" / name).read_bytes()
    with system.open_input_stream("frames/clean/failures.jsonl") as stream:
        assert json.loads(stream.read())["path"] == "s3://***@frames/in/bad.png"
    refused = cli(*args)
    assert refused.code == 2 and "1.png: exists already (and 1 more)" in refused.err
    assert "2 existed already" in cli(*args, "--skip-existing").err

    # A list that names objects, into a folder of this machine.
    (tmp_path / "list.txt").write_text(f"{address('in/1.png')}\narchive/1.png\n", encoding="utf-8")
    assert cli("denoise", tmp_path / "list.txt", "-o", tmp_path / "out", "-m", denoiser_file, "--ray").code == 0
    assert len(set(contents(tmp_path / "out").values())) == 1
    assert contents(tmp_path / "out").keys() == {"frames/in/1.png", "archive/1.png"}


def test_labels_go_to_a_parquet_file(cluster, tmp_path, cli, archive, classifier_file, tiny_models):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cli("denoise", SCENE, "-o", archive / "night/clip.mp4", "--strength", 0, "-m", "camera-nano").code == 0
    plain = cli("classify", archive, "-m", classifier_file, "--json")
    expected = [json.loads(line) for line in plain.out.splitlines()]
    video = cli("classify", archive / "night/clip.mp4", "-m", classifier_file, "--json")
    of_video = [json.loads(line) for line in video.out.splitlines()]

    out = tmp_path / "labels.parquet"
    result = cli("classify", archive, "-o", out, "-m", classifier_file, "--ray", "--workers", 2)
    assert result.code == 1 and "bad.png: not an image" in result.err and "26 frames" in result.error_lines[-1]
    assert [failure["path"] for failure in listed(tmp_path / "labels.failures.jsonl")] == [str(archive / "bad.png")]
    rows = parquet.read_table(out).to_pylist()
    images = [{key: value for key, value in row.items() if key != "frame"} for row in rows if row["frame"] is None]
    assert images == [row | {"name": row["name"].encode(errors="backslashreplace").decode()} for row in expected]
    frames = [row for row in rows if row["frame"] is not None]
    assert [(row["name"], row["frame"]) for row in frames] == [("night/clip.mp4", index) for index in range(6)]
    assert [row["scores"] for row in frames] == [row["scores"] for row in of_video]
    assert list(rows[0]["scores"]) == list(tiny_models.LABELS)
    assert cli("classify", archive, "-o", out, "-m", classifier_file, "--ray").code == 2


@pytest.mark.long
@pytest.mark.parametrize("ends", [False, True], ids=["done", "interrupted"])
def test_local_workers_start_and_end_with_the_command(tmp_path, archive, denoiser_file, ends):
    pytest.importorskip("ray", reason="--ray needs the extra ray")
    psutil = pytest.importorskip("psutil")
    out = tmp_path / "out"
    if ends:
        for number in range(300):
            write_image(archive / f"more/{number:03}.png", random_frame(480, 640, 3, seed=number))
    args = ("denoise", archive, "-o", out, "-m", denoiser_file, "--ray", "local", "--workers", 1, "--json")
    command = [sys.executable, "-m", "quietframe", *map(str, args)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if ends:
            assert wait_until(lambda: any(out.glob("*.png")), 300)
        started = psutil.Process(process.pid).children(recursive=True)
        if ends:
            process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=200)
    if ends:
        assert (process.returncode, errors.strip()) == (130, "quietframe: interrupted")
        time.sleep(1)  # the last of Ray's processes ends
        assert not [child for child in started if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    else:
        assert process.returncode == 1 and json.loads(printed)["files"] == 20, errors
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


# Without Ray: what is refused, and how files are found


def test_a_list_keeps_the_paths_that_stand_in_it(tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_bytes(b"a/1.png\n\n/data/\xff.mp4\r\ns3://user:word@cam-1/k/a%20b?.png\n")
    items, failures = find(str(tmp_path / "list.txt"))
    assert failures == []
    assert [item.name for item in items] == ["a/1.png", os.fsdecode(b"data/\xff.mp4"), "cam-1/k/a%20b"]
    assert [item.shown for item in items] == [
        str(tmp_path / "a/1.png"),
        os.fsdecode(b"/data/\xff.mp4"),
        "s3://***@cam-1/k/a%20b",
    ]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("-o", "{tmp}/out", "--serve"), "--serve is not for --ray"),
        (("-o", "{tmp}/out", "--frames", 5), "--frames is not for --ray"),
        ((), "--ray needs one folder or address"),
        (("-o", "{tmp}/out", "-m", "auto"), "an archive is denoised by one model"),
        (("-o", "{tmp}/out", "-m", "camera-nano,camera-small"), "an archive is denoised by one model"),
        (("-o", "{tmp}/out", "-m", "{tmp}/none.tflite"), "none.tflite"),
        (("-o", "{tmp}/out", "--codec", "ffv1"), "--codec is for videos, and none is written"),
        (("-o", "{tmp}/out", "--crf", 30), "--crf is for videos, and none is written"),
        (("-o", "{tmp}/out", "--format", "png"), "1.jpg and "),
        (("-o", "{tmp}/archive", "--overwrite"), "lies inside the archive"),
        (("-o", "{tmp}/archive/clean"), "lies inside the archive"),
        (("-o", "{tmp}/other"), "1.png: exists already"),
    ],
    ids=str,
)
def test_what_an_archive_cannot_have_is_refused(tmp_path, cli, args, reason):
    for name in ("1.jpg", "1.png"):
        write_image(tmp_path / "archive" / name)
    write_image(tmp_path / "other/1.png")
    result = cli("denoise", tmp_path / "archive", *(str(arg).format(tmp=tmp_path) for arg in args), "--ray")
    assert result.code == 2 and reason in result.error_lines[-1] and len(result.error_lines) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("nowhere", "expected a folder, a list of files"),
        ("empty", "no images and no videos there"),
        ("up.txt", "would lie outside of the folder"),
        ("none.txt", "cannot be read"),
        ("self.txt", "would be replaced by its own result"),
        ("rtsp://cam.local/live", "no store that pyarrow opens"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path, cli, monkeypatch, source, reason):
    pytest.importorskip("pyarrow", reason="addresses need the extra ray")
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    write_image(Path("out/1.png"))
    Path("self.txt").write_text("out/1.png\n", encoding="utf-8")
    Path("up.txt").write_text("a/../../b.png", encoding="utf-8")
    result = cli("denoise", source, "-o", ".", "--ray", "--overwrite")
    assert result.code == 2 and reason in result.err and len(result.error_lines) == 1


def test_without_the_extra_one_line_names_it(tmp_path, cli, monkeypatch, denoiser_file):
    monkeypatch.setitem(sys.modules, "ray", None)
    image = write_image(tmp_path / "archive/1.png", np.zeros((8, 8, 3), np.uint8)).parent
    result = cli("denoise", image, "-o", tmp_path / "out", "-m", denoiser_file, "--ray")
    assert result.code == 2
    assert result.error_lines == ["quietframe: error: Ray Data is not installed: pip install 'quietframe[ray]'"]

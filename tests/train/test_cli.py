import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys

import pytest

from quietframe_train import load_run

EPOCH_LINE = re.compile(r"epoch (\d+)/(\d+)  .*loss [\d.]+.*  [\d.]+ s$")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, mnist_npz):
    """A training by the command line: its folder, stdout and stderr."""
    out = tmp_path_factory.mktemp("cli") / "run"
    command = [sys.executable, "-m", "quietframe", "train", "digit-classifier"]
    options = [
        "--data",
        mnist_npz,
        "--out",
        out,
        "--epochs",
        "2",
        "--limit",
        "60",
        "--seed",
        "5",
        "--data-terms",
        "CC0",
    ]
    done = subprocess.run([*command, *map(str, options)], capture_output=True, text=True, check=True)
    return out, done.stdout, done.stderr


def test_results_go_to_stdout_and_one_line_an_epoch_to_stderr(finished):
    out, stdout, stderr = finished
    assert f"{out}/model.keras: 269,322 parameters, 343 MAC/pixel, 2 epochs in " in stdout
    assert "mnist.npz test" in stdout
    lines = stderr.splitlines()
    assert len(lines) == 2, "nothing of TensorFlow, nothing of Keras"
    assert all(EPOCH_LINE.match(line) for line in lines), lines


def test_the_options_reach_the_run(finished):
    run = load_run(finished[0])
    assert (run.recipe.name, run.epochs, run.limit, run.seed, run.data.terms) == ("digit-classifier", 2, 60, 5, "CC0")


def test_json_is_for_machines(finished, run_cli, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    code, out, err = run_cli("train", "digit-classifier", "--out", folder, "--resume", "--json")
    record = json.loads(out)
    assert code == 0, err
    assert (record["recipe"], record["folder"], record["seed"], record["epochs"]) == (
        "digit-classifier", str(folder), 5, 2,
    )  # fmt: skip
    assert 0 <= record["metrics"]["sets"]["mnist.npz test"]["accuracy"] <= 1
    assert record["metrics"]["training_seconds"] > 0


def test_the_list_needs_no_keras(finished):
    code = (
        "import sys; from quietframe.cli import cli; cli.main(['train', '--list'], standalone_mode=False); "
        "sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow', 'matplotlib')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for text in ("latent-autoencoder", "digit-classifier", "camera-nano", "denoise", "MNIST", "31k-parameter"):
        assert text in done.stdout


def test_the_list_as_json(run_cli):
    code, out, _ = run_cli("train", "--list", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)] == ["latent-autoencoder", "digit-classifier", "camera-nano"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing argument 'RECIPE': quietframe train --list shows them"),
        (["camera-nanno"], "unknown recipe 'camera-nanno': did you mean 'camera-nano'?"),
        (["camera-nano", "--out", "{tmp}/run"], "camera-nano trains on photographs of yours: pass --data FOLDER"),
        (["camera-nano", "--data", "{tmp}", "--out", "{tmp}/run"], "0 usable pictures"),
        (["digit-classifier", "--data", "{tmp}/none.npz", "--out", "{tmp}/run"], "none.npz: no such file"),
        (["digit-classifier", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["digit-classifier", "--limit", "1"], "Invalid value for '--limit'"),
        (["digit-classifier", "--out", "{finished}"], "not empty: choose another --out, or pass --resume"),
        (["digit-classifier", "--out", "{tmp}/run", "--resume"], "no training to resume"),
        (["digit-classifier", "--out", "{finished}", "--resume", "--seed", "6"], "(seed: 5, now 6)"),
        (["digit-classifier", "--out", "{finished}", "--resume", "--epochs", "3"], "(epochs: 2, now 3)"),
        (["latent-autoencoder", "--out", "{finished}", "--resume"], "recipe name: digit-classifier, now latent"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(run_cli, tmp_path, finished, args, message):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in finished[0].iterdir())
    code, out, err = run_cli("train", *(arg.format(tmp=tmp_path, finished=finished[0]) for arg in args))
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("quietframe: error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
    assert sorted((path.name, path.stat().st_mtime_ns) for path in finished[0].iterdir()) == before


def test_a_resume_with_other_data_is_refused(run_cli, finished, tmp_path, mnist_npz):
    import numpy as np

    with np.load(mnist_npz) as file:
        arrays = dict(file)
    moved = tmp_path / "moved.npz"
    np.savez(moved, **arrays)
    arrays["x_train"] = 255 - arrays["x_train"]
    np.savez(tmp_path / "other.npz", **arrays)
    folder = shutil.copytree(finished[0], tmp_path / "run")
    code, _, err = run_cli("train", "digit-classifier", "--out", folder, "--resume", "--data", tmp_path / "other.npz")
    assert code == 2
    assert "data: other images than at the start, at " in err
    code, _, err = run_cli("train", "digit-classifier", "--out", folder, "--resume", "--data", moved)
    assert code == 0, err


def test_a_backend_that_is_not_there_is_one_line(tmp_path, mnist_npz):
    command = [sys.executable, "-m", "quietframe", "train", "digit-classifier", "--data", mnist_npz, "--out"]
    done = subprocess.run(
        [*command, tmp_path / "run"],
        env=os.environ | {"KERAS_BACKEND": "abacus"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "the Keras backend 'abacus' cannot be used" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(tmp_path, mnist_npz):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "quietframe", "train", "latent-autoencoder", "--data", mnist_npz, "--out", out]
    process = subprocess.Popen([*map(str, command), "--epochs", "40"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read().splitlines()
    assert process.wait() == 130
    assert EPOCH_LINE.match(first)
    kept = len((out / "history.csv").read_text().splitlines()) - 1
    assert rest[-1] == (
        f"quietframe: interrupted: {kept} of 40 epochs are kept; go on with "
        f"quietframe train latent-autoencoder --out {out} --resume"
    )
    assert "Traceback" not in "".join(rest)


def test_a_terminal_gets_a_bar(tmp_path, mnist_npz):
    command = [sys.executable, "-m", "quietframe", "train", "latent-autoencoder", "--data", mnist_npz, "--out"]
    ours, theirs = pty.openpty()
    options = [str(tmp_path / "run"), "--epochs", "1", "--limit", "200"]
    process = subprocess.Popen(
        [*map(str, command), *options], stderr=theirs, stdout=subprocess.DEVNULL, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        while True:
            try:
                data = terminal.read(4096)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
    assert process.wait() == 0
    assert "━" in shown.decode()
    assert "/6" in shown.decode(), "steps of the epoch"

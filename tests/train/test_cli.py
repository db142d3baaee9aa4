import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from quietframe_train import RECIPES, load_run
from quietframe_train.recipe import ModelConfig
from support.process import run_python
from support.terminal import read_terminal

EPOCH_LINE = re.compile(r"epoch (\d+)/(\d+)  .*loss [\d.]+.*  [\d.]+ s$")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, mnist_npz):
    """A training by the command line: its folder, stdout and stderr."""
    out = tmp_path_factory.mktemp("cli") / "run"
    options = ("--epochs", 2, "--limit", 60, "--seed", 5, "--data-terms", "CC0")
    done = run_python("-m", "quietframe", "train", "digit-classifier", "--data", mnist_npz, "--out", out, *options)
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


def test_json_is_for_machines(finished, cli, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    code, out, err = cli("train", "digit-classifier", "--out", folder, "--resume", "--json")
    record = json.loads(out)
    assert code == 0, err
    assert (record["recipe"], record["folder"], record["seed"], record["epochs"]) == (
        "digit-classifier", str(folder), 5, 2,
    )  # fmt: skip
    assert 0 <= record["metrics"]["measured"][0]["value"] <= 1
    assert record["metrics"]["training_seconds"] > 0


def test_the_list_needs_no_keras():
    code = (
        "import sys; from quietframe.cli import cli; cli.main(['train', '--list'], standalone_mode=False); "
        "sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow', 'matplotlib')))"
    )
    done = run_python("-c", code)
    for text in (*RECIPES, "denoise", "MNIST", "63k-parameter", "a folder of photographs", "a folder for each class"):
        assert text in done.stdout


def test_names_stay_whole_at_80_columns(cli, monkeypatch):
    monkeypatch.setattr("quietframe.cli.terminal.PIPE_WIDTH", 80)
    _, out, _ = cli("train", "--list")
    assert max(map(len, out.splitlines())) <= 80
    assert {line.split(" ")[1] for line in out.splitlines() if line.startswith(" ")} >= RECIPES.keys()


def test_the_list_as_json(cli):
    code, out, _ = cli("train", "--list", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [row["name"] for row in rows] == list(RECIPES)
    folders = ("a folder of photographs", "a folder of images", "a folder for each class")
    assert {row["data"] for row in rows} == {"MNIST", *folders}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing argument 'RECIPE': quietframe train --list shows them"),
        (["camera-nanno"], "unknown recipe 'camera-nanno': did you mean 'camera-nano'?"),
        (["camera-nano", "--out", "{tmp}/run"], "camera-nano needs --data FOLDER (a folder of photographs)"),
        (
            ["denoise-and-classify", "--data", "{mnist}", "--epochs", "2", "--out", "{tmp}/run"],
            "pass --epochs, --start-from and --from-phase to those",
        ),
        (["digit-cnn", "--data", "{mnist}", "--out", "/proc/run"], "/proc/run: cannot be made"),
        (
            ["denoise-and-classify", "--data", "{mnist}", "--out", "/proc/run"],
            "/proc/dense-autoencoder: cannot be made",
        ),
        (["digit-cnn", "--data", "{mnist}", "--out", "{mnist}"], "is a file, expected a folder for the training"),
        (["digit-cnn", "--compute", "int4"], "Invalid value for '--compute'"),
        (["camera-nano", "--data", "{tmp}", "--out", "{tmp}/run"], "0 usable images"),
        (["digit-classifier", "--data", "{tmp}/none.npz", "--out", "{tmp}/run"], "none.npz: no such file"),
        (["digit-classifier", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["digit-classifier", "--limit", "1"], "Invalid value for '--limit'"),
        (["digit-classifier", "--out", "{finished}"], "not empty: choose another --out, or pass --resume"),
        (["digit-classifier", "--out", "{tmp}/run", "--resume"], "no training to resume"),
        (["digit-classifier", "--out", "{finished}", "--resume", "--seed", "6"], "(seed: 5, now 6)"),
        (
            ["digit-classifier", "--out", "{finished}", "--resume", "--epochs", "3"],
            "(recipe.phases[0].epochs: 2, now 3)",
        ),
        (["latent-autoencoder", "--out", "{finished}", "--resume"], "recipe.name: digit-classifier, now latent"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(cli, tmp_path, finished, mnist_npz, args, message):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in finished[0].iterdir())
    code, out, err = cli("train", *(arg.format(tmp=tmp_path, finished=finished[0], mnist=mnist_npz) for arg in args))
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("quietframe: error: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert sorted((path.name, path.stat().st_mtime_ns) for path in finished[0].iterdir()) == before


def test_mistakes_are_found_before_keras_is_loaded(tmp_path, mnist_npz):
    """It takes seconds."""
    (tmp_path / "empty").mkdir()
    run = ("--out", f"{tmp_path}/run")
    mistakes = [
        ("no-such-recipe",),
        ("camera-nano", *run),
        ("camera-nano", "--data", f"{tmp_path}/missing", *run),
        ("color-unet", "--data", f"{tmp_path}/empty", *run),
        ("digit-cnn", "--data", f"{tmp_path}/none.npz", *run),
        ("digit-cnn", "--data", str(mnist_npz), "--epochs", "0"),
        ("digit-cnn", "--data", str(mnist_npz), "--resume", *run),
        ("digit-cnn", "--data", str(mnist_npz), "--from-phase", "last", *run),
        ("digit-cnn", "--data", str(mnist_npz), "--start-from", f"{tmp_path}/none.keras", *run),
    ]
    code = (
        "import sys; from quietframe.cli import main\n"
        f"for args in {mistakes!r}:\n"
        "    try: main(['train', *args])\n"
        "    except SystemExit as exc: print(exc.code)\n"
        "sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow', 'matplotlib')))"
    )
    done = run_python("-c", code)
    assert done.stdout.split() == ["2"] * len(mistakes)
    assert len(done.stderr.splitlines()) == len(mistakes)


def test_a_resume_with_other_data_is_refused(cli, finished, tmp_path, mnist_npz):
    import numpy as np

    with np.load(mnist_npz) as file:
        arrays = dict(file)
    moved = tmp_path / "moved.npz"
    np.savez(moved, **arrays)
    arrays["x_train"] = 255 - arrays["x_train"]
    np.savez(tmp_path / "other.npz", **arrays)
    folder = shutil.copytree(finished[0], tmp_path / "run")
    code, _, err = cli("train", "digit-classifier", "--out", folder, "--resume", "--data", tmp_path / "other.npz")
    assert code == 2
    assert "data: other images than at the start, at " in err
    code, _, err = cli("train", "digit-classifier", "--out", folder, "--resume", "--data", moved)
    assert code == 0, err


def test_a_backend_that_is_not_there_is_one_line(tmp_path, mnist_npz):
    options = ("--data", mnist_npz, "--out", tmp_path / "run")
    done = run_python("-m", "quietframe", "train", "digit-classifier", *options, check=False, KERAS_BACKEND="abacus")
    assert done.returncode == 2
    assert "the Keras backend 'abacus' cannot be used" in done.stderr
    assert done.stderr.count("\n") == 1


def interrupted(number, *args):
    """Train in a process of its own, send it a signal in its first epoch; its exit code and what it wrote."""
    command = [sys.executable, "-m", "quietframe", "train", *map(str, args)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        first = process.stderr.readline()
        process.send_signal(number)
        lines = [first, *process.stderr.read().splitlines()]
    return process.wait(), lines


@pytest.mark.usefixtures("heeded_signals")
def test_a_signal_keeps_what_was_done_and_says_how_to_go_on(tmp_path, mnist_npz):
    """Each of the signals is a test of `Signals`."""
    out = tmp_path / "run"
    code, (first, *others, noted, last) = interrupted(
        signal.SIGTERM, "latent-autoencoder", "--data", mnist_npz, "--out", out, "--epochs", 40
    )
    assert code == 128 + signal.SIGTERM
    kept = len((out / "history.csv").read_text().splitlines()) - 1
    assert last == (
        f"quietframe: interrupted: {kept} of 40 epochs are kept; go on with "
        f"quietframe train latent-autoencoder --out {out} --resume"
    )
    assert noted == "quietframe: interrupted; ends in a moment, at once if interrupted again"
    assert all(EPOCH_LINE.match(line) for line in (first, *others)), others


def test_a_terminal_gets_a_bar(tmp_path, mnist_npz):
    command = [sys.executable, "-m", "quietframe", "train", "latent-autoencoder", "--data", mnist_npz, "--out"]
    ours, theirs = pty.openpty()
    options = [str(tmp_path / "run"), "--epochs", "1", "--limit", "200"]
    process = subprocess.Popen(
        [*map(str, command), *options], stderr=theirs, stdout=subprocess.DEVNULL, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    shown = read_terminal(ours)
    assert process.wait() == 0
    assert "━" in shown
    assert "/6" in shown, "steps of the epoch"


def first_of_builders(kind):
    """The first recipe of each architecture: the others train the same with another noise, split or length."""
    found = {r.model.builder: name for name, r in reversed(RECIPES.items()) if r.data.kind == kind}
    return sorted(found.values())


@pytest.fixture
def small_recipes(monkeypatch):
    """The recipes of whole pictures, at 32 pixels a side and with three folds."""
    for name, recipe in RECIPES.items():
        if recipe.data.kind != "pictures":
            continue
        options = {**recipe.model.options, "side": 32}
        small = replace(
            recipe, model=ModelConfig(recipe.model.builder, options), data=replace(recipe.data, side=32, folds=3)
        )
        monkeypatch.setitem(RECIPES, name, small)


@pytest.mark.parametrize("name", [n for n in first_of_builders("digits") if not RECIPES[n].parts])
def test_every_digit_model_trains_from_the_command_line(cli, tmp_path, mnist_npz, artefacts, name):
    out = tmp_path / "run"
    code, stdout, err = cli("train", name, "--data", mnist_npz, "--out", out, "--epochs", 1, "--limit", 40, "--json")
    assert code == 0, err
    measured = json.loads(stdout)["metrics"]["measured"]
    measures = {"denoise": 5, "classify": 1}[RECIPES[name].task]
    assert len(measured) == measures * len(RECIPES[name].measured_with)
    assert {path.name for path in out.iterdir()} >= artefacts
    assert not list(out.glob("*part*"))


@pytest.mark.parametrize("name", first_of_builders("pictures"))
def test_every_picture_model_trains_from_the_command_line(
    cli, tmp_path, picture_folder, small_recipes, artefacts, name
):
    out = tmp_path / "run"
    code, stdout, err = cli("train", name, "--data", picture_folder, "--out", out, "--epochs", 1)
    assert code == 0, err
    assert f"{out}/model.keras: " in stdout
    assert "1 epochs in " in stdout
    if name == "image-classifier":
        assert re.search(r"^accuracy, clean, of 3 folds: [01]\.\d{4} ± \d\.\d{4} \(standard deviation\)$", stdout, re.M)
        assert "quietframe: cross-validation: fold 3 of 3" in err
        assert load_run(out).classes == ("dark", "light")
    else:
        assert f"measured on {picture_folder.name} test, noisy → denoised" in stdout
        for noise in RECIPES[name].measured_with:
            assert re.search(rf"^ {noise.key} +[\d.]+ → [\d.]+ ", stdout, re.M), stdout
    assert {path.name for path in out.iterdir()} >= artefacts


def test_a_classifier_can_skip_its_folds(cli, tmp_path, picture_folder, small_recipes):
    out, arguments = tmp_path / "run", ("--data", picture_folder, "--epochs", 1, "--no-folds", "--json")
    code, stdout, err = cli("train", "image-classifier", *arguments, "--out", out)
    assert code == 0, err
    assert "cross-validation" not in err and not list(out.glob("fold-*"))
    assert (
        "cross_validation" not in json.loads(stdout)["metrics"] or not json.loads(stdout)["metrics"]["cross_validation"]
    )
    assert load_run(out).recipe.data.other_folds() == ()
    refused = cli("train", "color-unet", *arguments, "--out", tmp_path / "other")
    assert refused[0] == 2 and "color-unet trains on no other folds: leave --no-folds out" in refused[2]


@pytest.mark.usefixtures("heeded_signals")
def test_an_interrupted_part_of_a_composite_says_how_to_go_on(tmp_path, mnist_npz):
    out, part = tmp_path / "whole", tmp_path / "dense-autoencoder"
    code, lines = interrupted(signal.SIGINT, "denoise-and-classify", "--data", mnist_npz, "--out", out)
    assert code == 130
    assert lines[-1].endswith(
        f" of 100 epochs are kept; go on with quietframe train dense-autoencoder --out {part} --resume"
    )
    assert not out.exists()

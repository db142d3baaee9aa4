"""Files that would take the process along are tried in another one. They are of a campaign of changed fields."""

from pathlib import Path

import pytest

import quietframe as qf
from quietframe.engines.trial import SWITCH, try_model
from quietframe.errors import ModelLoadError

HOSTILE = Path(__file__).parent / "hostile"


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    """The folder where it is remembered what has passed."""
    monkeypatch.setenv(SWITCH, "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "quietframe" / "models"


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("1d6ba060-1", r"crashes the process \(SIGABRT\)"),  # 16-bit addition in scales that are no powers of two
        ("81c5d49b-2", "takes more than 1 GiB"),  # a tensor of 6 GB between two others
        ("824ee68a-1", "takes more than 1 GiB"),
    ],
)
def test_what_would_end_the_process_is_one_line(cli, records, name, fault):
    path = HOSTILE / f"min-model-tflite-{name}.tflite"
    with pytest.raises(ModelLoadError, match=fault):
        try_model(path)
    assert not records.exists()
    result = cli("info", path)
    assert result.code == 2
    assert len(result.error_lines) == 1
    assert "--no-isolate" in result.err


def test_a_file_is_tried_once_and_a_built_in_one_never(make_model, records, suffix):
    qf.Denoiser("camera-nano")
    assert not records.exists()
    path = make_model(suffix=suffix)
    qf.Denoiser(path)
    (record,) = records.iterdir()
    before = record.stat().st_mtime_ns
    qf.Denoiser(path)
    assert [each.stat().st_mtime_ns for each in records.iterdir()] == [before]


def test_without_a_folder_to_remember_it_a_file_opens_all_the_same(tmp_path, make_model, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    qf.Denoiser(make_model())


def test_the_trial_can_be_left_out(make_model, cli, records, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")  # the option sets it: this takes it back
    assert cli("info", make_model(), "--no-isolate").code == 0
    assert not records.exists()

import json
from dataclasses import replace

import pytest

from quietframe.card import DataTerms
from quietframe.errors import OutputError, SourceError, UsageError
from quietframe_train.recipes import RECIPES
from quietframe_train.run_folder import Run, begin, check_folder, check_same, differences, load_run


@pytest.fixture
def run(tmp_path):
    return Run(
        folder=tmp_path / "deep" / "run",
        recipe=RECIPES["camera-nano"],
        seed=3,
        limit=None,
        data_path=tmp_path / "photos",
        data=DataTerms("photos", "mine"),
        data_sha256="ab" * 32,
        versions={"python": "3.11.0", "keras": "3.8.0"},
        created="2026-11-21T08:00:00+00:00",
    )


def test_a_run_is_read_as_it_was_written(run):
    begin(run)
    assert load_run(run.folder) == run
    assert load_run(str(run.folder)).model_path == run.folder / "model.keras"


def test_a_run_through_keras_datasets_has_no_path_and_metrics_are_read_along(run):
    run = replace(run, data_path=None, limit=10, metrics={"parameters": 3})
    begin(run)
    (run.folder / "metrics.json").write_text('{"parameters": 3}')
    assert load_run(run.folder) == run


def test_other_folders_are_no_run(tmp_path, run):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SourceError, match=r"not a run folder of quietframe train \(no recipe.json in it\)"):
            load_run(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(format=1), "format 1 is not known here"),
        (lambda r: r.pop("seed"), "run: field 'seed' is missing"),
        (lambda r: r.update(seed="one"), "run.seed: expected a whole number, received 'one'"),
        (lambda r: r["data"].pop("terms"), "run.data: field 'terms' is missing"),
        (lambda r: r.update(data=None), "run.data: expected an object with a kind, received None"),
        (lambda r: r.pop("recipe"), "run: field 'recipe' is missing"),
    ],
)
def test_a_damaged_recipe_json_is_an_error_that_names_the_field(run, change, message):
    begin(run)
    path = run.folder / "recipe.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(SourceError, match=message):
        load_run(run.folder)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_what_is_not_json_is_an_error(run, text):
    begin(run)
    (run.folder / "recipe.json").write_text(text)
    with pytest.raises(SourceError, match=r"recipe.json: (cannot be read|holds a JSON list)"):
        load_run(run.folder)


def test_a_training_begins_in_a_new_or_empty_folder_only(tmp_path):
    check_folder(tmp_path / "new", resume=False)
    check_folder(tmp_path, resume=False)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty: choose another --out, or pass --resume"):
        check_folder(tmp_path, resume=False)
    with pytest.raises(UsageError, match="is a file, expected a folder"):
        check_folder(tmp_path / "letter.txt", resume=False)


def test_resume_needs_something_to_resume(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match="no training to resume"):
            check_folder(folder, resume=True)
    (tmp_path / "main-state.weights.h5").touch()
    with pytest.raises(UsageError, match="no training to resume"):
        check_folder(tmp_path, resume=True)
    (tmp_path / "recipe.json").touch()
    check_folder(tmp_path, resume=True)


def test_differences_are_named(run):
    assert differences(run, run) == []
    other = replace(
        run,
        recipe=replace(run.recipe.with_phases(batch=8), noise=replace(run.recipe.noise, level_error=0.1)),
        seed=4,
        limit=9,
    )
    assert differences(run, other) == [
        "recipe.noise.level_error: 0.3, now 0.1",
        "recipe.phases[0].batch: 16, now 8",
        "recipe.phases[1].batch: 4, now 8",
        "seed: 3, now 4",
        "limit: None, now 9",
    ]
    shorter = replace(run, recipe=run.recipe.from_phase("finetune"))
    (line,) = differences(run, shorter)
    epochs = run.recipe.phases[0].epochs
    assert line.startswith(f"recipe.phases: [Phase(name main, epochs {epochs}, batch 16, ")


def test_words_paths_and_versions_may_differ(run, tmp_path):
    recipe = replace(run.recipe, summary="better said", source="elsewhere", limits="none")
    moved = replace(run, recipe=recipe, data_path=tmp_path, versions={"python": "3.12"}, data=DataTerms("a", "b"))
    assert differences(run, moved) == []
    assert differences(run, replace(run, data_sha256="cd" * 32)) == [
        f"data: other images than at the start, at {run.data_path}"
    ]


def test_another_training_is_refused_and_the_folder_stays(run):
    begin(run)
    with pytest.raises(UsageError, match=r"holds another training \(seed: 3, now 4\)"):
        check_same(load_run(run.folder), replace(run, seed=4))
    assert load_run(run.folder) == run


def test_a_folder_that_cannot_be_made_is_an_output_error(run, tmp_path):
    (tmp_path / "deep").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match="cannot be made"):
        begin(run)

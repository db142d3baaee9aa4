from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietframe.errors import SourceError, UsageError
from quietframe_bench.samples import PairRule, Sample, find_images, find_kind, find_pairs, find_videos, split_by_scene

DATA = Path(os.environ.get("QUIETFRAME_DATA", "nowhere"))


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_pairs_are_found_by_the_ends_of_their_names(tmp_path):
    touch(tmp_path, "b_1_real.JPG", "b_1_mean.png", "more/a_2_real.jpg", "more/a_2_mean.jpg", "a_real.txt", "other.jpg")
    pairs = find_pairs(tmp_path, PairRule())
    assert [pair.name for pair in pairs] == ["b_1", "more/a_2"]
    assert (pairs[0].noisy.name, pairs[0].clean[0].name) == ("b_1_real.JPG", "b_1_mean.png")
    assert pairs[1].clean == (tmp_path / "more" / "a_2_mean.jpg",)
    assert len(find_pairs(tmp_path, PairRule(), limit=1)) == 1


def test_the_ends_can_be_others_and_one_can_be_empty(tmp_path):
    touch(tmp_path, "NOISY_x.png", "x-n.png", "x.png", "y-n.png", "y.png")
    assert [pair.name for pair in find_pairs(tmp_path, PairRule(("-n", "")))] == ["x", "y"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a_mean.png", "a.png"], "no pairs of names that end in _real and _mean"),
        (["a_real.png", "b_mean.png"], r"a_real.png: no a_mean\.\* beside it"),
        (["a_real.png", "more/a_mean.png"], r"no a_mean\.\* beside it"),
    ],
)
def test_pairs_that_are_none_are_an_error(names, says, tmp_path):
    touch(tmp_path, *names)
    with pytest.raises(SourceError, match=says):
        find_pairs(tmp_path, PairRule())
    with pytest.raises(SourceError, match="no such folder"):
        find_pairs(tmp_path / "nowhere", PairRule())


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("Canon5D2_5_160_3200_chair_11", "chair"),
        ("NikonD800_6-3_125_5000_plant__4", "plant"),
        ("more/Canon600D_3-5_125_1600_waterhouse_10", "waterhouse"),
        ("Canon80D_8_8_800_GO_11", "flower"),
        ("0001_02", "0001_02"),
    ],
)
def test_the_scene_is_the_last_word(name, scene):
    assert PairRule(same={"GO": "flower"}).scene_of(name) == scene


def test_the_scene_can_be_found_by_an_expression():
    assert PairRule(scene=r"^(\d+)_").scene_of("0007_011_x") == "0007"
    assert PairRule(scene=r"^\d+").scene_of("0007_011_x") == "0007"
    with pytest.raises(UsageError, match=r"finds no scene in the name 'toy_3'"):
        PairRule(scene=r"^\d+").scene_of("toy_3")


def pairs_of(counts):
    names = [f"{scene}_{number}" for scene, count in counts.items() for number in range(count)]
    return [Sample(name, (index,), (Path(f"{name}.png"),)) for index, name in enumerate(names)]


@given(st.dictionaries(st.text("abcde", min_size=1, max_size=3), st.integers(1, 9), min_size=2))
def test_no_scene_is_in_both_halves_and_no_pair_is_lost(counts):
    pairs = pairs_of(counts)
    halves = split_by_scene(pairs, PairRule())
    assert sorted(pair.name for pair in [*halves.choose, *halves.report]) == sorted(pair.name for pair in pairs)
    choose, report = halves.scenes["choose"], halves.scenes["report"]
    assert not choose.keys() & report.keys()
    assert choose and report
    assert {**choose, **report} == counts
    assert abs(len(halves.choose) - len(halves.report)) <= max(counts.values())
    assert split_by_scene(pairs[::-1], PairRule()) == halves


def test_one_scene_cannot_be_split():
    with pytest.raises(UsageError, match=r"all 4 pairs show one scene, 'toy'.*--scene"):
        split_by_scene(pairs_of({"toy": 4}), PairRule())


@pytest.mark.skipif(not (DATA / "polyu").is_dir(), reason="QUIETFRAME_DATA does not name a folder with polyu")
def test_the_split_of_polyu_keeps_scenes_together():
    rule = PairRule(same={"GO": "flower"})  # the same planter, taken by two cameras
    halves = split_by_scene(find_pairs(DATA / "polyu", rule), rule)
    assert (len(halves.choose), len(halves.report)) == (50, 50)
    choose, report = halves.scenes["choose"], halves.scenes["report"]
    assert choose["toy"] == 13  # of three cameras
    assert report["plant"] == 9  # of two cameras; one name has an underscore too many
    assert not choose.keys() & report.keys()


@pytest.fixture
def videos(tmp_path):
    """Two sequences, of four and of three frames."""
    for name, count in (("walk", 4), ("run", 3)):
        touch(tmp_path / "videos", *(f"{name}/{index:05}.png" for index in range(count)))
    return tmp_path / "videos"


def frames_of(folder, limit=None):
    """The names of the frames of each video."""
    return {video.name: [frame.name for frame in video.clean] for video in find_videos(folder, 0, limit)}


def test_a_folder_is_one_sequence_or_holds_them(videos):
    assert frames_of(videos) == {
        "run": ["00000.png", "00001.png", "00002.png"],
        "walk": ["00000.png", "00001.png", "00002.png", "00003.png"],
    }
    assert {name: len(frames) for name, frames in frames_of(videos, 3).items()} == {"run": 3, "walk": 3}
    assert {name: len(frames) for name, frames in frames_of(videos / "walk").items()} == {"walk": 4}
    touch(videos, "notes/notes.txt", ".cache/a.png")
    assert list(frames_of(videos)) == ["run", "walk"]


def test_what_holds_no_video_is_an_error(videos, tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        find_videos(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="no frames in it or in its sub-folders"):
        find_videos(tmp_path)
    with pytest.raises(UsageError, match=r"2 frames or more to be judged\. Received: a limit of 1"):
        find_videos(videos, 0, 1)
    touch(videos, "still/0.png")
    with pytest.raises(SourceError, match="a video needs 2 frames or more to be judged: still has 1"):
        find_videos(videos)
    touch(videos, "cover.png")
    with pytest.raises(SourceError, match=r"holds frames and sequences of frames \(run, still, walk\)"):
        find_videos(videos)


def test_videos_differ_from_images_by_numbered_frames_in_sub_folders(videos, picture_folder):
    assert find_kind(videos, PairRule()) == "video"
    assert find_kind(videos / "walk", PairRule()) == "images"  # one sequence: say so with --as video
    assert find_kind(picture_folder, PairRule()) == "images"
    touch(videos.parent / "areas", "first/1m².png", "first/2m².png")
    assert find_kind(videos.parent / "areas", PairRule()) == "video"


def test_a_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="no images"):
        find_images(tmp_path)

"""What quality is judged on: the clean images, pairs of photographs or videos in a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Literal, NamedTuple

from quietframe.errors import SourceError, UsageError
from quietframe.images import IMAGE_SUFFIXES, read_image

FolderKind = Literal["images", "pairs", "video"]
MIN_FRAMES = 2
"""Frames of a video: in a single one nothing flickers."""


@dataclass(frozen=True)
class Sample:
    """One thing to judge with: an image, a pair of photographs or a video.

    Attributes:
        name: what results call it.
        seed: its noise draws from `numpy.random.default_rng([*seed, σ · 1000])`; in a video the number of the frame
            stands before the level, and in a camera's format the CRC-32 of the format's name behind it.
        clean: the file; of a video one for each frame.
        noisy: the file of the same with a camera's noise; None: noise is added.
        crop: (rows, columns) to cut off the top left.
        skip: of a video: so many frames at its beginning are shown, and not judged.
    """

    name: str
    seed: tuple[int, ...]
    clean: tuple[Path, ...]
    noisy: Path | None = None
    crop: tuple[int, int] = (0, 0)
    skip: int = 0


@dataclass(frozen=True)
class PairRule:
    """How pairs are found, and which of them show the same scene.

    Attributes:
        suffixes: ends of the file names, before the dot, of the noisy and of the clean photograph, as in
            `toy_3_real.JPG` and `toy_3_mean.JPG`; what stands before is the pair's name, and the same in both.
        scene: a regular expression that finds the scene in a pair's name: its first group, or all of it. None: the
            last part of the name, between `_`, that begins with a letter; without one, the whole name.
        same: scenes under several names, each name with the one that stands for both.
    """

    suffixes: tuple[str, str] = ("_real", "_mean")
    scene: str | None = None
    same: Mapping[str, str] = field(default_factory=dict)

    def scene_of(self, name: str) -> str:
        """Return the scene of a pair. Raises UsageError if the expression does not find one."""
        stem = Path(name).name
        if self.scene is None:
            found = next((part for part in reversed(stem.split("_")) if part[:1].isalpha()), stem)
        elif match := re.search(self.scene, stem):
            found = match[1] if match.re.groups else match[0]
        else:
            raise UsageError(f"--scene {self.scene!r} finds no scene in the name {stem!r}")
        return self.same.get(found, found)


class Halves(NamedTuple):
    """Pairs split by scene to choose settings on and to report on; `scenes` counts the pairs of each, by half."""

    choose: Sequence[Sample]
    report: Sequence[Sample]
    scenes: Mapping[str, Mapping[str, int]]


def find_images(folder: Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, sorted by path.

    Raises SourceError: no such folder, or no images in it.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if _is_image(path))
    if not found:
        raise SourceError(f"{folder}: no images in it ({' '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def image_samples(folder: Path, seed: int = 0, crop: tuple[int, int] = (0, 0)) -> list[Sample]:
    """Return the clean images of a folder; image number i has the seed (seed, i)."""
    return [
        Sample(path.relative_to(folder).as_posix(), (seed, index), (path,), crop=crop)
        for index, path in enumerate(find_images(folder))
    ]


def find_pairs(folder: Path, rule: PairRule, limit: int | None = None) -> list[Sample]:
    """Return the pairs in a folder and its subfolders, sorted by name.

    Raises SourceError: no such folder, no pairs in it, or a noisy photograph without its clean one.
    """
    by_stem = {path.with_suffix(""): path for path in find_images(folder)}
    noisy_end, clean_end = rule.suffixes
    found: list[Sample] = []
    for stem, noisy in by_stem.items():
        if not stem.name.endswith(noisy_end):
            continue
        name = stem.name.removesuffix(noisy_end)
        clean = by_stem.get(stem.with_name(f"{name}{clean_end}")) if f"{name}{clean_end}" else None
        if clean is None:
            raise SourceError(f"{noisy}: no {name}{clean_end}.* beside it")
        found.append(Sample((stem.parent / name).relative_to(folder).as_posix(), (len(found),), (clean,), noisy))
    if not found:
        raise SourceError(f"{folder}: no pairs of names that end in {noisy_end} and {clean_end}: see --pair-suffixes")
    return found[:limit]


def split_by_scene(pairs: Sequence[Sample], rule: PairRule) -> Halves:
    """Return two halves of about as many pairs, no scene in both.

    The scenes, from that with most pairs down (of equals by name), go to the half with fewer pairs so far.

    Raises UsageError where all show one scene, or the rule finds none in a name.
    """
    by_scene = sorted(pairs, key=lambda pair: (rule.scene_of(pair.name), pair.name))
    scenes = {scene: list(of_one) for scene, of_one in groupby(by_scene, lambda pair: rule.scene_of(pair.name))}
    if len(scenes) < 2:
        raise UsageError(
            f"all {len(pairs)} pairs show one scene, {next(iter(scenes))!r}: settings must be chosen on others than "
            "figures are reported on; say with --scene what names a scene"
        )
    halves: dict[str, dict[str, list[Sample]]] = {"choose": {}, "report": {}}
    for scene, of_one in sorted(scenes.items(), key=lambda item: (-len(item[1]), item[0])):
        min(halves.values(), key=lambda half: sum(map(len, half.values())))[scene] = of_one
    choose, report = (sorted(chain(*half.values()), key=lambda pair: pair.name) for half in halves.values())
    counts = {name: {scene: len(of_one) for scene, of_one in sorted(half.items())} for name, half in halves.items()}
    return Halves(choose, report, counts)


def find_videos(
    folder: Path, seed: int = 0, limit: int | None = None, *, skip: int = 0, crop: tuple[int, int] = (0, 0)
) -> list[Sample]:
    """Return the videos of a folder: each sub-folder with images, sorted by name, or the folder itself.

    seed: of the noise; video number i has the seed (seed, i). limit: use only the first so many frames of each. skip,
    crop: see `Sample`.

    Raises SourceError: no such folder, no images in it, images both in it and in sub-folders, or a video with fewer
    than two frames to judge; UsageError: a limit that leaves fewer.
    """
    least = MIN_FRAMES + skip
    beside = f" beside the {skip} that are skipped" if skip else ""
    needs = f"a video needs {MIN_FRAMES} frames or more to be judged{beside}"
    if limit is not None and limit < least:
        raise UsageError(f"{needs}. Received: a limit of {limit}")
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    own, below = _frames(folder), _frames_below(folder)
    if own and below:
        raise SourceError(f"{folder}: holds frames and sequences of frames ({', '.join(below)}): give one or the other")
    found = {folder.resolve().name: own} if own else below
    if not found:
        raise SourceError(f"{folder}: no frames in it or in its sub-folders ({' '.join(sorted(IMAGE_SUFFIXES))})")
    for name, frames in found.items():
        if len(frames) < least:
            raise SourceError(f"{folder}: {needs}: {name} has {len(frames)}")
    return [
        Sample(name, (seed, index), tuple(found[name][:limit]), crop=crop, skip=skip)
        for index, name in enumerate(found)
    ]


def find_kind(folder: Path, rule: PairRule) -> FolderKind:
    """Return what lies in a folder: pairs by the ends of their names, videos as sub-folders of numbered frames."""
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    below = [] if _frames(folder) else list(_frames_below(folder).values())
    if below and all(len(frames) >= MIN_FRAMES and _are_numbered(frames) for frames in below):
        return "video"
    stems = {path.with_suffix("") for path in find_images(folder)}
    noisy_end, clean_end = rule.suffixes
    names = [stem.with_name(stem.name.removesuffix(noisy_end)) for stem in stems if stem.name.endswith(noisy_end)]
    return "pairs" if any(name.with_name(f"{name.name}{clean_end}") in stems for name in names) else "images"


def is_gray(image: Path) -> bool:
    """Return whether an image is gray; one that cannot be read is taken for colour, and fails when it is judged."""
    try:
        return read_image(image).pixels.ndim == 2
    except SourceError:
        return False


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _frames(folder: Path) -> list[Path]:
    return sorted(filter(_is_image, folder.iterdir()))


def _frames_below(folder: Path) -> dict[str, list[Path]]:
    within = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return {path.name: frames for path in within if (frames := _frames(path))}


def _are_numbered(frames: Sequence[Path]) -> bool:
    digits = ["".join(filter(str.isdecimal, path.stem)) for path in frames]
    numbers = sorted(map(int, filter(None, digits)))
    return all(digits) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))

"""Pairs of photographs, one with a camera's noise and one without, and their split into two halves by scene."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quietframe.errors import SourceError, UsageError
from quietframe.images import IMAGE_SUFFIXES
from quietframe_bench.image_quality import Picture

SUFFIXES = ("_real", "_mean")
"""Ends of the names of a noisy and a clean photograph, as in `toy_3_real.JPG` and `toy_3_mean.JPG`."""


@dataclass(frozen=True)
class PairRule:
    """How pairs are found, and which of them show the same scene.

    Attributes:
        suffixes: ends of the file names, before the dot, of the noisy and of the clean photograph; what stands before
            is the pair's name, and the same in both.
        scene: a regular expression that finds the scene in a pair's name: its first group, or all of it. None: the
            last part of the name, between `_`, that begins with a letter; without one, the whole name.
        same: scenes under several names, each name with the one that stands for both.
    """

    suffixes: tuple[str, str] = SUFFIXES
    scene: str | None = None
    same: Mapping[str, str] = field(default_factory=dict)

    def scene_of(self, name: str) -> str:
        """The scene of a pair. Raises UsageError if the expression does not find one."""
        stem = Path(name).name
        if self.scene is None:
            words = [part for part in stem.split("_") if part[:1].isalpha()]
            found = words[-1] if words else stem
        else:
            match = re.search(self.scene, stem)
            if match is None:
                raise UsageError(f"--scene {self.scene!r} finds no scene in the name {stem!r}")
            found = match[1] if match.re.groups else match[0]
        return self.same.get(found, found)


@dataclass(frozen=True)
class Halves:
    """Pairs split by scene: settings are chosen on one half, figures reported on the other.

    Attributes:
        choose, report: the pairs.
        scenes: of each half, the scenes and how many pairs show them.
    """

    choose: Sequence[Picture]
    report: Sequence[Picture]
    scenes: Mapping[str, Mapping[str, int]]


def find_pairs(folder: Path, rule: PairRule, limit: int | None = None) -> list[Picture]:
    """The pairs in a folder and its subfolders, sorted by name.

    Raises:
        SourceError: no such folder, no pairs in it, or a noisy photograph without its clean one.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    by_stem = {path.with_suffix(""): path for path in files}
    noisy_end, clean_end = rule.suffixes
    found: list[Picture] = []
    for stem, noisy in by_stem.items():
        if not stem.name.endswith(noisy_end):
            continue
        name = stem.name.removesuffix(noisy_end)
        clean = by_stem.get(stem.with_name(f"{name}{clean_end}")) if f"{name}{clean_end}" else None
        if clean is None:
            raise SourceError(f"{noisy}: no {name}{clean_end}.* beside it")
        found.append(Picture((stem.parent / name).relative_to(folder).as_posix(), len(found), clean, noisy))
    if not found:
        raise SourceError(f"{folder}: no pairs of names that end in {noisy_end} and {clean_end}: see --pair-suffixes")
    return found[:limit]


def split_by_scene(pairs: Sequence[Picture], rule: PairRule) -> Halves:
    """Two halves of about as many pairs, no scene in both: the scenes, from that with most pairs down (of equals by
    name), go to the half with fewer pairs so far.

    Raises UsageError where all show one scene, or the rule finds none in a name.
    """
    scenes: dict[str, list[Picture]] = {}
    for pair in pairs:
        scenes.setdefault(rule.scene_of(pair.name), []).append(pair)
    if len(scenes) < 2:
        raise UsageError(
            f"all {len(pairs)} pairs show one scene, {next(iter(scenes))!r}: settings must be chosen on others than "
            "figures are reported on; say with --scene what tells scenes apart"
        )
    halves: dict[str, dict[str, list[Picture]]] = {"choose": {}, "report": {}}
    for scene, of_one in sorted(scenes.items(), key=lambda item: (-len(item[1]), item[0])):
        smaller = min(halves.values(), key=lambda half: sum(map(len, half.values())))
        smaller[scene] = of_one
    choose, report = (
        sorted((pair for of_one in half.values() for pair in of_one), key=lambda pair: pair.name)
        for half in halves.values()
    )
    counts = {name: {scene: len(of_one) for scene, of_one in sorted(half.items())} for name, half in halves.items()}
    return Halves(choose, report, counts)

"""Quality on real camera noise: pairs of photographs, one with a camera's noise and one without.

They are split by scene: settings are chosen on one half, figures reported on the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from quietframe.errors import SourceError, UsageError
from quietframe.images import IMAGE_SUFFIXES
from quietframe_bench.candidates import NOISY_INPUT, Candidate, Entry, QualityRow, TestImage, judge_entries, new_entry
from quietframe_bench.classical import METHODS
from quietframe_bench.columns import CIRCUMSTANCES, Column, Table
from quietframe_bench.kinds.baselines import Choice, best_entry, choose_settings, every_for
from quietframe_bench.plan import OnStep, ignore_step, is_gray
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run, SummaryRow

TITLE = "Quality on pairs of photographs"
LEVELS_255 = (0.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 20.0, 25.0, 30.0)
"""The constant levels that are tried in place of the estimate."""
CHOICE_PAIRS = 12
"""On about so many pairs a filter's setting is chosen."""
METHOD_NAMES = ("bilateral", "NLM")
"""The filters that can be judged beside the models, as they are quick enough."""
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
        """Return the scene of a pair. Raises UsageError if the expression does not find one."""
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

    choose: Sequence[TestImage]
    report: Sequence[TestImage]
    scenes: Mapping[str, Mapping[str, int]]


def find_pairs(folder: Path, rule: PairRule, limit: int | None = None) -> list[TestImage]:
    """Return the pairs in a folder and its subfolders, sorted by name.

    Raises:
        SourceError: no such folder, no pairs in it, or a noisy photograph without its clean one.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    by_stem = {path.with_suffix(""): path for path in files}
    noisy_end, clean_end = rule.suffixes
    found: list[TestImage] = []
    for stem, noisy in by_stem.items():
        if not stem.name.endswith(noisy_end):
            continue
        name = stem.name.removesuffix(noisy_end)
        clean = by_stem.get(stem.with_name(f"{name}{clean_end}")) if f"{name}{clean_end}" else None
        if clean is None:
            raise SourceError(f"{noisy}: no {name}{clean_end}.* beside it")
        found.append(TestImage((stem.parent / name).relative_to(folder).as_posix(), len(found), clean, noisy))
    if not found:
        raise SourceError(f"{folder}: no pairs of names that end in {noisy_end} and {clean_end}: see --pair-suffixes")
    return found[:limit]


def split_by_scene(pairs: Sequence[TestImage], rule: PairRule) -> Halves:
    """Return two halves of about as many pairs, no scene in both.

    The scenes, from that with most pairs down (of equals by name), go to the half with fewer pairs so far.

    Raises UsageError where all show one scene, or the rule finds none in a name.
    """
    scenes: dict[str, list[TestImage]] = {}
    for pair in pairs:
        scenes.setdefault(rule.scene_of(pair.name), []).append(pair)
    if len(scenes) < 2:
        raise UsageError(
            f"all {len(pairs)} pairs show one scene, {next(iter(scenes))!r}: settings must be chosen on others than "
            "figures are reported on; say with --scene what names a scene"
        )
    halves: dict[str, dict[str, list[TestImage]]] = {"choose": {}, "report": {}}
    for scene, of_one in sorted(scenes.items(), key=lambda item: (-len(item[1]), item[0])):
        smaller = min(halves.values(), key=lambda half: sum(map(len, half.values())))
        smaller[scene] = of_one
    choose, report = (
        sorted((pair for of_one in half.values() for pair in of_one), key=lambda pair: pair.name)
        for half in halves.values()
    )
    counts = {name: {scene: len(of_one) for scene, of_one in sorted(half.items())} for name, half in halves.items()}
    return Halves(choose, report, counts)


@dataclass(frozen=True)
class PairsSettings:
    """What to judge on.

    Attributes:
        folder: of the pairs; subfolders are searched too.
        rule: how pairs and scenes are found.
        limit: use only the first so many pairs, sorted by name.
        methods: filters to judge beside the models, of `METHOD_NAMES`.
        every: their settings are chosen on every so many pairs of the half to choose on; None: on about
            `CHOICE_PAIRS` of them.
    """

    folder: Path
    rule: PairRule = field(default_factory=PairRule)
    limit: int | None = None
    methods: Sequence[str] = ()
    every: int | None = None


class PairRow(QualityRow, kw_only=True, tag="pairs"):
    """One candidate on the half to report on.

    Attributes:
        gain_db: the mean over the pairs of how much better it is than the noisy photograph, in dB of PSNR.
        gaining_share: the share of pairs that gain, in [0, 1].
        worst_gain_db, worst_pair: of the pair that gains least.
    """

    gain_db: float | None = None
    gaining_share: float | None = None
    worst_gain_db: float | None = None
    worst_pair: str | None = None


class PairsSummary(SummaryRow, kw_only=True, tag="pairs-summary"):
    """The split, how settings and levels were chosen, and notes."""


@dataclass(frozen=True)
class LevelChoice:
    """How a model's best constant level was chosen: each level with its mean PSNR in dB, best first."""

    file: str
    tried: Sequence[tuple[float, float]]


def measure_pairs(models: Sequence[Path], settings: PairsSettings, on_step: OnStep = ignore_step) -> Results:
    """Judge models and filters on pairs of photographs. What fails is a failed row.

    Args:
        models: model files; the noise level is estimated, as on a device.
        settings: the pairs.
        on_step: called with (what, step, steps) as it goes on, stage by stage.

    Returns:
        On the half to report on: the noisy input, each model with its estimate and with the best constant level,
        each filter at its best and at its textbook setting; then a summary.

    Raises:
        SourceError: no pairs.
        UsageError: pairs of one scene only, or a filter that is not one of `METHOD_NAMES`.
    """
    for name in settings.methods:
        if name not in METHOD_NAMES:
            raise UsageError(f"Unknown baseline {name!r} for pairs: expected {' or '.join(METHOD_NAMES)}")
    halves = split_by_scene(find_pairs(settings.folder, settings.rule, settings.limit), settings.rule)
    run = Run(settings, levels_255=list(LEVELS_255))
    candidates = [NOISY_INPUT, *(Candidate(path.name, model=path) for path in models)]
    entries = [new_entry(run, candidate, None, PairRow) for candidate in candidates]
    judge_entries(entries, halves.report, on_step=on_step)
    conditioned = [e.candidate.model for e in entries if e.candidate.model and e.row.conditioning == "sigma"]
    levels = [_choose_level(run, model, halves.choose, on_step) for model in conditioned]
    every = settings.every or every_for(len(halves.choose), CHOICE_PAIRS)
    gray = is_gray(halves.choose[0].clean)
    choices = choose_settings(run, settings.methods, [None], halves.choose[::every], gray=gray, on_step=on_step)
    chosen = [_at_level(run, model, level) for model, level in zip(conditioned, levels, strict=True)]
    for choice in choices:
        textbook = Candidate(
            f"{choice.method}, textbook", method=choice.method, setting=METHODS[choice.method].textbook
        )
        chosen += [best_entry(run, choice, row_type=PairRow), new_entry(run, textbook, None, PairRow)]
    judge_entries(chosen, halves.report, on_step=on_step)
    rows = [entry.row for entry in _in_order(entries, chosen)]
    for row in rows[1:]:
        _set_gains(row, rows[0])
    details = {
        "scenes": halves.scenes,
        "choose": [pair.name for pair in halves.choose],
        "report": [pair.name for pair in halves.report],
        "every": every,
        "choices": [asdict(choice) for choice in choices],
        "levels": [asdict(level) for level in levels],
    }
    notes = _notes(settings, halves, choices)
    return Results([*rows, run.row(PairsSummary, None, notes=notes, details=details)])


def _choose_level(run: Run, model: Path, pairs: Sequence[TestImage], on_step: OnStep) -> LevelChoice:
    """Try every level with a model, on every pair."""
    entries = [
        new_entry(run, Candidate(f"{model.name}, σ {level_255:g}", model=model, given_sigma_255=level_255), None)
        for level_255 in LEVELS_255
    ]
    judge_entries(entries, pairs, on_step=on_step, measures=("psnr_db",))
    tried = [(e.row.given_sigma_255, e.row.psnr_db) for e in entries if e.row.psnr_db is not None]
    return LevelChoice(model.name, sorted(tried, key=lambda one: -one[1]))


def _at_level(run: Run, model: Path, choice: LevelChoice) -> Entry:
    level_255 = choice.tried[0][0] if choice.tried else 0.0
    candidate = Candidate(f"{model.name}, constant level {level_255:g}", model=model, given_sigma_255=level_255)
    return new_entry(run, candidate, None, PairRow, error=None if choice.tried else "no level could be tried")


def _in_order(entries: Sequence[Entry], chosen: Sequence[Entry]) -> list[Entry]:
    """Put each model's constant level behind its estimate, the filters last."""
    ordered: list[Entry] = []
    for entry in entries:
        model = entry.candidate.model
        ordered += [entry, *(one for one in chosen if model and one.candidate.model == model)]
    return ordered + [one for one in chosen if one.candidate.model is None]


def _set_gains(row: PairRow, noisy: PairRow) -> None:
    """Derive how much better a row is than the noisy input, pair by pair."""
    before = noisy.by_image
    by_pair = {pair: of["psnr_db"] - before[pair]["psnr_db"] for pair, of in row.by_image.items() if pair in before}
    if by_pair:
        row.worst_pair = min(by_pair, key=by_pair.__getitem__)
        row.worst_gain_db = by_pair[row.worst_pair]
        row.gain_db = fmean(by_pair.values())
        row.gaining_share = sum(gain > 0 for gain in by_pair.values()) / len(by_pair)


def _notes(settings: PairsSettings, halves: Halves, choices: Sequence[Choice]) -> list[str]:
    """Say how the figures came about."""
    noisy_end, clean_end = settings.rule.suffixes
    rule = "the last part of a name that begins with a letter" if settings.rule.scene is None else settings.rule.scene
    same = "; ".join(f"{name} counts as {other}" for name, other in settings.rule.same.items())
    levels = ", ".join(f"{level_255:g}" for level_255 in LEVELS_255)
    notes = [
        f"A pair: NAME{noisy_end}.* with the camera's noise, NAME{clean_end}.* without.",
        f"Split by scene ({rule}{f'; {same}' if same else ''}), so that none is in both halves; cameras can be. "
        f"{_half(halves, 'choose')}; {_half(halves, 'report')}.",
        "Models estimate the noise level in every frame. 'constant level': the one level that is best by mean PSNR on "
        f"the pairs to choose on, of {levels}: the difference is what the estimate costs.",
    ]
    if choices:
        grids = "; ".join(f"{choice.method}: {METHODS[choice.method].grid_text}" for choice in choices)
        chosen = "; ".join(
            f"{choice.method}: {', '.join(f'{name} {value:g}' for name, value in (choice.setting or {}).items())}"
            for choice in choices
        )
        notes += [
            f"'best setting': of a small grid, by mean PSNR on {choices[0].images} of the pairs to choose on. "
            f"The grid: {grids}. Chosen: {chosen}.",
            "'textbook': the setting of OpenCV's tutorials.",
        ]
    return notes


def _half(halves: Halves, name: str) -> str:
    scenes = halves.scenes[name]
    listed = ", ".join(f"{scene} {count}" for scene, count in scenes.items())
    return f"To {name} on: {sum(scenes.values())} pairs ({listed})"


_FIGURES = (
    Column("denoiser", lambda row: row.candidate, name="candidate"),
    Column("pairs", lambda row: row.images or None, name="pairs"),
    Column("PSNR dB", lambda row: row.psnr_db, ".2f", "psnr_db"),
    Column("gain dB", lambda row: row.gain_db, "+.2f", "gain_db"),
    Column("gaining", lambda row: row.gaining_share, ".0%", "gaining_share"),
    Column("worst dB", lambda row: row.worst_gain_db, "+.2f", "worst_gain_db"),
    Column("SSIM", lambda row: row.ssim, ".4f", "ssim"),
    Column("est. sigma", lambda row: row.estimated_sigma_255, ".1f", "estimated_sigma_255"),
    Column("worst pair", lambda row: row.worst_pair, name="worst_pair", words=True),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {PairRow: (*_FIGURES, *CIRCUMSTANCES), PairsSummary: ()}


def tables(rows: Sequence[Any]) -> list[Table]:
    """Make the table of each candidate on the half to report on, and the notes."""
    title = "real camera noise: mean over the pairs to report on; 8-bit frames in and out; gaining: share of pairs"
    judged = [row for row in rows if isinstance(row, PairRow)]
    summaries = [row for row in rows if isinstance(row, PairsSummary)]
    return [Table(title, _FIGURES, judged), *(Table("notes", (), notes=summary.notes) for summary in summaries)]

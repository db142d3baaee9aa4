"""The quality of denoisers on real camera noise: settings are chosen on some scenes, figures come from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from quietframe_bench.choice import Choice, choose_settings, every_for
from quietframe_bench.classical import METHODS
from quietframe_bench.contenders import NOISY_INPUT, Contender
from quietframe_bench.image_quality import OnStep, Picture, QualityRow, is_gray, judge_rows, picture_failures
from quietframe_bench.pairs import Halves, PairRule, find_pairs, split_by_scene

LEVELS_255 = (0.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 20.0, 25.0, 30.0)
"""The constant levels that are tried in place of the estimate."""

CHOICE_PAIRS = 12
"""On about so many pairs a filter's setting is chosen."""


@dataclass(frozen=True)
class PairsSettings:
    """What to judge on.

    Attributes:
        folder: of the pairs; subfolders are searched too.
        rule: how pairs and scenes are found.
        limit: use only the first so many pairs, sorted by name.
        methods: classical methods to judge beside the models.
        every: their settings are chosen on every so many pairs of the half to choose on; None: on about
            `CHOICE_PAIRS` of them.
    """

    folder: Path
    rule: PairRule = field(default_factory=PairRule)
    limit: int | None = None
    methods: Sequence[str] = ()
    every: int | None = None

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "folder": self.folder.name,
            "pair_suffixes": self.rule.suffixes,
            "scene": self.rule.scene,
            "same_scene": dict(self.rule.same),
            "limit": self.limit,
            "methods": list(self.methods),
            "every": self.every,
            "levels_255": LEVELS_255,
        }


@dataclass(frozen=True)
class LevelChoice:
    """How a model's best constant level was chosen: each level with its mean PSNR in dB, best first."""

    model: Path
    tried: Sequence[tuple[float, float]]

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        tried = [{"told_sigma_255": level_255, "psnr_db": psnr_db} for level_255, psnr_db in self.tried]
        return {"file": self.model.name, "tried": tried}


@dataclass(frozen=True)
class Gains:
    """What denoising gives, in dB of PSNR.

    Attributes:
        gain_db: the mean over the pairs.
        gaining_share: the share of pairs that gain, in [0, 1].
        worst_gain_db: that of the pair which gains least.
        worst_pair: its name.
    """

    gain_db: float
    gaining_share: float
    worst_gain_db: float
    worst_pair: str


@dataclass(frozen=True)
class PairsFound:
    """What was found.

    Attributes:
        rows: on the half to report on: the noisy input, each model with its estimate and with the best constant
            level, each method at its best and at its textbook setting.
        halves: the split.
        choices, levels: how settings and levels were chosen on the other half.
        every: settings were chosen on every so many of its pairs.
    """

    rows: Sequence[QualityRow]
    halves: Halves
    choices: Sequence[Choice]
    levels: Sequence[LevelChoice]
    every: int

    def gains(self, row: QualityRow) -> Gains | None:
        """How much better a row is than the noisy input, pair by pair; None for that itself, or without figures."""
        before = self.rows[0].figures
        by_pair = {pair: of["psnr_db"] - before[pair]["psnr_db"] for pair, of in row.figures.items() if pair in before}
        if row is self.rows[0] or not by_pair:
            return None
        worst = min(by_pair, key=by_pair.__getitem__)
        gaining = sum(gain > 0 for gain in by_pair.values())
        return Gains(fmean(by_pair.values()), gaining / len(by_pair), by_pair[worst], worst)

    def failures(self) -> list[str]:
        """One line for each thing that failed, once."""
        errors = [f"{row.name}: {row.error}" for row in self.rows if row.error]
        return list(dict.fromkeys(errors + picture_failures(self.rows)))


def measure_pairs(
    models: Sequence[Path], settings: PairsSettings, on_step: OnStep = lambda text, step, steps: None
) -> PairsFound:
    """Judge models and methods on pairs of photographs. A contender that fails is a failed row.

    Args:
        models: model files; the noise level is estimated, as on a device.
        settings: the pairs.
        on_step: told (what, step, steps) as it goes on, stage by stage.

    Raises:
        SourceError: no pairs.
        UsageError: pairs of one scene only.
    """
    halves = split_by_scene(find_pairs(settings.folder, settings.rule, settings.limit), settings.rule)
    rows = [QualityRow(contender, None) for contender in [NOISY_INPUT, *map(_estimating, models)]]
    judge_rows(rows, halves.report, on_step=on_step)
    told = [row.contender.model for row in rows if row.contender.model and row.facts.get("conditioning") == "sigma"]
    levels = _choose_levels(told, halves.choose, on_step)
    every = settings.every or every_for(len(halves.choose), CHOICE_PAIRS)
    choices = choose_settings(
        settings.methods,
        [None],
        halves.choose[::every],
        gray=is_gray(halves.choose[0].clean),
        on_step=on_step,
    )
    chosen = [_with_level(level) for level in levels] + [row for choice in choices for row in _at_settings(choice)]
    judge_rows(chosen, halves.report, on_step=on_step)
    return PairsFound(_in_order(rows, chosen), halves, choices, levels, every)


def _estimating(model: Path) -> Contender:
    return Contender(model.name, model=model)


def _choose_levels(models: Sequence[Path], pairs: Sequence[Picture], on_step: OnStep) -> list[LevelChoice]:
    """Try every level with every model, on every pair."""
    rows = [
        QualityRow(Contender(f"{model.name}, σ {level_255:g}", model=model, told_255=level_255), None)
        for model in models
        for level_255 in LEVELS_255
    ]
    judge_rows(rows, pairs, on_step=on_step, measures=("psnr_db",))
    choices = []
    for model in models:
        tried = [
            (row.contender.told_255, psnr_db)
            for row in rows
            if row.model == model
            and row.contender.told_255 is not None
            and (psnr_db := row.mean("psnr_db")) is not None
        ]
        choices.append(LevelChoice(model, sorted(tried, key=lambda one: -one[1])))
    return choices


def _with_level(choice: LevelChoice) -> QualityRow:
    level_255 = choice.tried[0][0] if choice.tried else 0.0
    name = f"{choice.model.name}, constant level {level_255:g}"
    error = None if choice.tried else "no level could be tried"
    return QualityRow(Contender(name, model=choice.model, told_255=level_255), None, error=error)


def _at_settings(choice: Choice) -> list[QualityRow]:
    best = Contender(f"{choice.method}, best setting", method=choice.method, setting=choice.setting or {})
    textbook = Contender(f"{choice.method}, textbook", method=choice.method, setting=METHODS[choice.method].textbook)
    return [QualityRow(best, None, error=choice.error), QualityRow(textbook, None)]


def _in_order(rows: Sequence[QualityRow], chosen: Sequence[QualityRow]) -> list[QualityRow]:
    """Each model's constant level behind its estimate, the methods last."""
    ordered: list[QualityRow] = []
    for row in rows:
        ordered += [row, *(one for one in chosen if row.model and one.model == row.model)]
    return ordered + [row for row in chosen if row.model is None]

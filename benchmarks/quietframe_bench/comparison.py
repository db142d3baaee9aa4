"""The comparison with peers: quality and time of our models, of FFDNet and of classical denoisers, in one run."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from quietframe.card import Colour, Precision
from quietframe.errors import QuietFrameError, UsageError
from quietframe_bench.choice import Choice, choose_settings, every_for
from quietframe_bench.classical import CBM3D, METHODS
from quietframe_bench.contender_speed import ContenderTimes, measure_contenders, timed_as
from quietframe_bench.contenders import NOISY_INPUT, TOLD, Contender
from quietframe_bench.ffdnet_files import WEIGHTS, file_name, how_to_get_weights, make_files
from quietframe_bench.image_quality import (
    OnStep,
    QualityRow,
    QualitySettings,
    find_pictures,
    is_gray,
    judge_rows,
    picture_failures,
    pictures_of,
)
from quietframe_bench.speed import SpeedSettings

SUBSET_IMAGES = 8
"""On about so many pictures settings are chosen, and CBM3D is judged: it takes half a minute for one."""

_PRECISIONS: Sequence[Precision] = ("fp32", "int8")


@dataclass(frozen=True)
class ComparisonSettings:
    """What to compare, and how.

    Attributes:
        quality: the pictures and the noise.
        speed: one size and one number of threads to time at.
        weights: a folder with FFDNet's published weights; None: FFDNet is not measured.
        calibrate: a folder of pictures, none of them judged with, to calibrate FFDNet's int8 file with; None:
            that file is not measured.
        cache: where FFDNet's files go, or are, when made before.
        every: settings are chosen and CBM3D is judged on every so many pictures; None: on about `SUBSET_IMAGES`.
        methods: the classical ones, by their names in `quietframe_bench.classical.METHODS`.
    """

    quality: QualitySettings
    speed: SpeedSettings
    weights: Path | None = None
    calibrate: Path | None = None
    cache: Path = Path("peers")
    every: int | None = None
    methods: Sequence[str] = tuple(METHODS)

    @property
    def filters(self) -> Sequence[str]:
        """The methods whose settings are chosen."""
        return [method for method in self.methods if METHODS[method].grid]

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "every": self.every,
            "peer_weights": self.weights and self.weights.name,
            "peer_calibrate": self.calibrate and self.calibrate.name,
            "speed": asdict(self.speed),
        }


@dataclass
class Networks:
    """FFDNet's rows, not judged yet: each file with the level estimated and told.

    `absent`: the files that are not measured, by name, and what it takes.
    """

    rows: list[QualityRow] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)


@dataclass
class Comparison:
    """What was found.

    Attributes:
        rows: a row for each contender and level, contender by contender.
        times: of each thing that was timed.
        choices: how the filters' settings were chosen.
        absent: contenders that were not measured, and what it takes.
        pictures: how many there are.
        every: settings were chosen, and CBM3D was judged, on every so many of them.
        gray: the pictures are gray.
    """

    rows: list[QualityRow]
    choices: list[Choice]
    absent: Mapping[str, str]
    pictures: int
    every: int
    gray: bool
    times: list[ContenderTimes] = field(default_factory=list)

    def time_of(self, row: QualityRow) -> ContenderTimes | None:
        """The times of a row's contender at that row's setting; None for what is not timed."""
        wanted = timed_as(row.contender)
        return next((one for one in self.times if one.contender == wanted), None)

    def failures(self) -> list[str]:
        """One line for each thing that failed, once."""
        found = [f"{row.name}: {row.error}" for row in self.rows if row.error]
        found += picture_failures(self.rows)
        found += [f"{one.contender.name}: {one.error}" for one in self.times if one.error]
        return list(dict.fromkeys(found))


def check_settings(settings: ComparisonSettings) -> None:
    """Say beforehand what would only come to light after minutes.

    Raises:
        SourceError: a folder without pictures.
        UsageError: several sizes or numbers of threads, weights that are not there, or pictures that are judged
            with among those to calibrate with.
    """
    speed = settings.speed
    if len(speed.sizes_wh) > 1 or len(speed.threads) > 1:
        raise UsageError("--peers compares at one --size and one number of --threads")
    pictures = find_pictures(settings.quality.folder, settings.quality.limit)
    if settings.weights is not None:
        wanted = settings.weights / WEIGHTS[_colour(pictures[0])]
        if not wanted.is_file():
            raise UsageError(f"{wanted}: no such file: expected {how_to_get_weights(_colour(pictures[0]))}")
    elif settings.calibrate is not None:
        raise UsageError("--peer-calibrate is for FFDNet: name its weights with --peer-weights FOLDER")
    if settings.calibrate is not None:
        judged = {_digest(path): path for path in find_pictures(settings.quality.folder)}
        for path in find_pictures(settings.calibrate):
            if twin := judged.get(_digest(path)):
                raise UsageError(f"{path}: is also judged with ({twin}): calibrate with other pictures")


def make_networks(settings: ComparisonSettings) -> Networks:
    """Make FFDNet's files, where weights and pictures to calibrate with are given. What fails is a failed row.

    Talks on standard error while it exports.
    """
    colour = _colour(find_pictures(settings.quality.folder, settings.quality.limit)[0])
    networks = Networks()
    for precision in _PRECISIONS:
        name = f"FFDNet {precision}"
        if settings.weights is None:
            networks.absent[name] = how_to_get_weights(colour)
            continue
        if precision == "int8" and settings.calibrate is None:
            networks.absent[name] = "--peer-calibrate FOLDER with pictures that are not judged with"
            continue
        contender = Contender(name, model=settings.cache / file_name(colour, precision))
        rows = _rows([contender], settings.quality.sigmas_255)
        rows += [_told(contender, sigma_255) for sigma_255 in settings.quality.sigmas_255]
        try:
            make_files(settings.weights, colour, [precision], settings.cache, calibrate=settings.calibrate)
        except QuietFrameError as exc:
            for row in rows:
                row.error = str(exc)
        networks.rows += rows
    return networks


def compare(
    models: Sequence[Path],
    settings: ComparisonSettings,
    networks: Networks,
    on_step: OnStep = lambda text, step, steps: None,
) -> Comparison:
    """Set our models, FFDNet and the classical denoisers side by side.

    A contender that fails is a failed row.

    Args:
        models: our model files.
        settings: see there; `check_settings` finds what is wrong with them.
        networks: from `make_networks`.
        on_step: told (what, step, steps) as it goes on, stage by stage.
    """
    quality = settings.quality
    pictures = pictures_of(quality)
    every = settings.every or every_for(len(pictures), SUBSET_IMAGES)
    gray = is_gray(pictures[0].clean)
    choices = choose_settings(
        settings.filters, quality.sigmas_255, pictures[::every], gray=gray, seed=quality.seed, on_step=on_step
    )
    rows = _rows([NOISY_INPUT, *(Contender(model.name, model=model) for model in models)], quality.sigmas_255)
    rows += networks.rows
    rows += [row for method in settings.filters for row in _filter_rows(method, choices, quality.sigmas_255)]
    absent = dict(networks.absent)
    if CBM3D in settings.methods and importlib.util.find_spec("bm3d") is None:
        absent[CBM3D] = "pip install 'quietframe[peers]' (for non-commercial use)"
    elif CBM3D in settings.methods:
        rows += [_told(Contender(CBM3D, method=CBM3D, every=every), sigma_255) for sigma_255 in quality.sigmas_255]
    judge_rows(rows, pictures, quality.seed, on_step)
    found = Comparison(rows, choices, absent, len(pictures), every, gray)
    found.times = measure_contenders(_to_time(rows), settings.speed, gray=gray, on_step=on_step)
    return found


def _rows(contenders: Sequence[Contender], sigmas_255: Sequence[float]) -> list[QualityRow]:
    return [QualityRow(contender, sigma_255) for contender in contenders for sigma_255 in sigmas_255]


def _told(contender: Contender, sigma_255: float) -> QualityRow:
    """A row of a contender that knows the level: that is said in its name."""
    name = f"{contender.name}{TOLD}"
    if contender.method is None:
        return QualityRow(replace(contender, name=name, told_255=sigma_255), sigma_255)
    setting = {str(METHODS[contender.method].told_as): sigma_255}
    return QualityRow(replace(contender, name=name, setting=setting), sigma_255)


def _filter_rows(method: str, choices: Sequence[Choice], sigmas_255: Sequence[float]) -> list[QualityRow]:
    rows = []
    for choice in choices:
        if choice.method == method:
            contender = Contender(f"{method}, best setting", method=method, setting=choice.setting or {})
            rows.append(QualityRow(contender, choice.sigma_255, error=choice.error))
    return rows + _rows([Contender(f"{method}, textbook", method=method, setting=METHODS[method].textbook)], sigmas_255)


def _to_time(rows: Sequence[QualityRow]) -> list[Contender]:
    """What the rows' contenders are timed as, each once."""
    wanted: list[Contender] = []
    for row in rows:
        is_noisy_input = row.contender.request() is None
        if not is_noisy_input and row.error is None and (one := timed_as(row.contender)) not in wanted:
            wanted.append(one)
    return wanted


def _colour(picture: Path) -> Colour:
    """What the pictures are, told by one of them."""
    return "GRAY" if is_gray(picture) else "BGR"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

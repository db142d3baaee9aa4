"""Everything that the page is written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quietframe_bench.results.collect import Collection, Entry, noise_words, split_figure
from quietframe_bench.results.markdown import NAMES
from quietframe_bench.results.measured import Measured


@dataclass(frozen=True)
class Findings:
    """What was read, what was measured, and under which circumstances.

    Attributes:
        found: the run folders.
        measured: what the command measured.
        images: pictures by what they show, as the page links them. See `figures.draw_all`.
        command: the command line, without folders of this machine.
        machine, versions, commit: see `quietframe_bench.machine`.
        date: ISO 8601.
    """

    found: Collection
    measured: Measured
    images: Mapping[str, str] = field(default_factory=dict)
    command: str = "quietframe results"
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: Mapping[str, Any] | None = None
    date: str = ""

    def of(self, *, kind: str = "", task: str = "") -> Sequence[Entry]:
        """The runs of a kind of data, or of a task, or of both; finished or not."""
        return [
            entry
            for entry in self.found.entries
            if (not kind or entry.run.recipe.kind == kind) and (not task or entry.does(task))
        ]

    def noise(self, key: str) -> str:
        """A noise in words, by its key."""
        from quietframe_train.recipes import RECIPES

        for recipe in (*(entry.run.recipe for entry in self.found.entries), *RECIPES.values()):
            for noise in recipe.measured_with:
                if noise.key == key:
                    return noise_words(noise)
        return f"σ {key.removeprefix('sigma')} of 255" if key.startswith("sigma") else key

    def label(self, figure: str) -> str:
        """A figure's name in words, as metrics.json names it."""
        measure, noise = split_figure(figure)
        return f"{NAMES.get(measure, measure)}, {self.noise(noise)}" if noise else measure

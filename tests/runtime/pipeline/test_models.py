"""The choice of a model by its time, frame by frame, on a clock of the test's own: seconds in place of waiting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from quietframe.controls import Settings
from quietframe.pipeline.models import AUTO, Deadline, Models, measure_ms
from quietframe.tasks import Denoiser

TIMES_MS = {"base": 30.0, "nano": 4.0, "small": 12.0}


class Run:
    """Feeds a deadline at a rate, with the time that each model takes."""

    def __init__(self, deadline: Deadline, fps: float = 30) -> None:
        self.deadline, self.fps = deadline, fps
        self.now_s = 0.0
        self.steps: list[tuple[float, str]] = []

    def go(self, seconds: float, load: float = 1.0, times_ms=TIMES_MS) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            busy_ms = times_ms[self.deadline.model] * load
            self.now_s += max(1 / self.fps, busy_ms / 1000)
            if step := self.deadline.add(busy_ms, round(self.now_s * 1e9)):
                assert step.model == self.deadline.model
                self.steps.append((self.now_s, step.model))


@pytest.mark.parametrize(
    ("fps", "model"), [(5, "base"), (26, "base"), (28, "small"), (66, "small"), (67, "nano"), (200, "nano")]
)
def test_the_best_model_that_fits_with_room_is_chosen(fps, model):
    deadline = Deadline(TIMES_MS, fps)
    assert deadline.model == deadline.first.model == model
    assert "nano 4.0 ms, small 12.0 ms, base 30.0 ms" in deadline.first.why


def test_where_none_fits_the_fastest_runs_and_that_is_said():
    deadline = Deadline(TIMES_MS, 300)
    assert deadline.model == "nano"
    assert "does not hold 300 fps" in deadline.first.why
    assert not deadline.first.holds


def test_a_model_that_remembers_is_better_than_those_that_do_not():
    times_ms = {"nano": 2.0, "small": 4.0, "base": 16.0, "video-nano": 5.0, "video-small": 8.0}
    chosen = {fps: Deadline(times_ms, fps, {"video-nano", "video-small"}).model for fps in (30, 110, 170, 300)}
    assert chosen == {30: "video-small", 110: "video-nano", 170: "small", 300: "nano"}
    assert Deadline(times_ms, 30).model == "base"


def test_of_several_models_that_are_named_no_other_is_chosen(denoiser_file, monkeypatch):
    """Others may be chosen by hand, and by `auto` where one alone is named."""
    monkeypatch.setattr("quietframe.pipeline.models._MEASURED_S", 0)
    opened = []

    def open_model(name):
        opened.append(name)
        return Denoiser(denoiser_file)

    loaded = {name: Denoiser(denoiser_file) for name in ("one", "two")}
    frame = np.zeros((16, 16, 3), np.uint8)
    Models(loaded, fps=30, others=["other"], open_model=open_model).current(Settings(model=AUTO), frame)
    assert opened == []
    Models({"one": loaded["one"]}, fps=30, others=["other"], open_model=open_model).current(Settings(model=AUTO), frame)
    assert opened == ["other"]


def test_nothing_changes_while_all_is_well():
    run = Run(Deadline(TIMES_MS, 30))
    run.go(200)
    assert run.steps == []


def test_two_seconds_of_misses_step_down_and_not_one_second():
    run = Run(Deadline(TIMES_MS, 30))
    run.go(20)
    run.go(0.9, load=4)
    run.go(20)
    assert run.steps == []
    began = run.now_s
    run.go(8, load=4)
    assert run.steps[0][1] == "nano"
    assert 0.5 < run.steps[0][0] - began <= 3.1


def test_it_steps_back_up_when_there_has_been_room_for_long_enough():
    run = Run(Deadline(TIMES_MS, 30))
    run.go(10)
    run.go(10, load=5)
    freed = run.now_s
    run.go(30)
    assert [model for _, model in run.steps] == ["nano", "small"]
    assert 2 < run.steps[1][0] - freed < 15


def test_a_model_that_never_fits_again_is_tried_less_and_less_often():
    """nano runs as measured, small takes four times as long as it did at the start: the guess is wrong each time."""
    run = Run(Deadline(TIMES_MS, 30))
    run.go(3600, times_ms={**TIMES_MS, "small": 48.0, "base": 120.0})
    ups = [when for when, model in run.steps if model == "small"]
    assert len(ups) <= 10  # of 3600 / 12 if each pause were the first
    pauses = np.diff(ups)
    assert all(later > earlier for earlier, later in itertools.pairwise(pauses[:5]))


def test_one_model_alone_stays():
    run = Run(Deadline({"nano": 4.0}, 30))
    run.go(60, load=20, times_ms={"nano": 4.0})
    assert run.steps == []


def test_measuring_takes_the_models_own_time(slow):
    frame = np.zeros((16, 16, 3), np.uint8)
    assert 20 < measure_ms(slow(20), frame, seconds=0.2) < 60

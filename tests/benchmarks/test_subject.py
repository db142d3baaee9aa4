from __future__ import annotations

import weakref
from time import perf_counter_ns

import numpy as np

from quietframe import Denoiser
from quietframe_bench.subject import STAGES, Stopwatch, as_video


def busy_wait(duration_ns: int) -> int:
    """Wait without sleeping; returns how long it really was, by this function's own clock."""
    start = perf_counter_ns()
    while perf_counter_ns() - start < duration_ns:
        pass
    return perf_counter_ns() - start


class ClockedEngine:
    """An engine that busy-waits and keeps its own time."""

    card_json = None

    def __init__(self, duration_ns: int) -> None:
        self.inputs: dict = {}
        self.outputs: dict = {}
        self.duration_ns = duration_ns
        self.own_ns: list[int] = []

    def run(self, inputs):
        self.own_ns.append(busy_wait(self.duration_ns))
        return inputs


class ClockedTask:
    """A task with a stage before and behind each run of its engine, all busy for a known time."""

    def __init__(self, pre_ns=1_000_000, engine_ns=5_000_000, post_ns=2_000_000, runs=1, between_ns=0) -> None:
        self.engine = ClockedEngine(engine_ns)
        self.durations_ns = pre_ns, post_ns
        self.runs = runs
        self.between_ns = between_ns
        self.frames: list = []

    def __call__(self, frame):
        self.frames.append(frame)
        busy_wait(self.durations_ns[0])
        results = []
        for _ in range(self.runs):
            results.append(self.engine.run({}))
            busy_wait(self.between_ns)
        busy_wait(self.durations_ns[1])
        return results


def test_as_a_video_few_frames_are_looked_at_and_all_are_timed(denoiser_file, monkeypatch):
    looked = []
    monkeypatch.setattr("quietframe.noise.tracker.estimate_noise", lambda frame: looked.append(1) or 10.0)
    denoiser = Denoiser(denoiser_file, threads=1)
    frame = np.full((48, 64, 3), 90, np.uint8)
    watch = Stopwatch(denoiser, lambda index: frame, as_video(denoiser, 30))
    samples = watch.run(warmup=0, runs=12, min_secs=0)
    assert len(looked) == 2
    assert len(samples["stages_ns"]["total"]) == 12
    assert min(samples["stages_ns"]["engine"]) > 0
    assert np.array_equal(as_video(denoiser, 30)(frame), denoiser(frame, sigma_255=10.0))


def test_the_engine_time_is_the_engines_own():
    task = ClockedTask()
    own = task.engine
    samples = Stopwatch(task, lambda index: index).run(warmup=2, runs=25, min_secs=0)
    engine_ns = np.array(samples["stages_ns"]["engine"])
    own_ns = np.array(own.own_ns[2:])
    assert len(engine_ns) == 25
    # Each reading holds the engine's own, and at the median hardly more.
    assert (engine_ns >= own_ns).all()
    assert np.median(engine_ns) - np.median(own_ns) < 50_000


def test_the_stages_are_kept_apart_and_add_up():
    task = ClockedTask(pre_ns=200_000, engine_ns=1_000_000, post_ns=500_000)
    samples = Stopwatch(task, lambda index: index).run(warmup=0, runs=40, min_secs=0)
    stages = {stage: np.array(samples["stages_ns"][stage]) for stage in STAGES}
    for stage, least_ns in (("pre", 200_000), ("engine", 1_000_000), ("post", 500_000), ("total", 1_700_000)):
        assert least_ns <= stages[stage].min() < least_ns + 200_000
    rest = stages["total"] - stages["pre"] - stages["engine"] - stages["post"]
    assert (rest == 0).all()


def test_several_runs_of_the_engine_are_summed_and_the_time_between_them_is_post():
    task = ClockedTask(engine_ns=1_000_000, runs=4, between_ns=500_000)
    samples = Stopwatch(task, lambda index: index).run(warmup=0, runs=5, min_secs=0)
    stages = {stage: np.array(samples["stages_ns"][stage]) for stage in STAGES}
    for stage, least_ns in (("pre", 1_000_000), ("engine", 4_000_000), ("post", 4_000_000), ("total", 9_000_000)):
        assert least_ns <= stages[stage].min()
    assert (stages["pre"] + stages["engine"] + stages["post"] == stages["total"]).all()


def test_warmup_is_kept_apart_and_every_call_gets_another_frame():
    task = ClockedTask(0, 10_000, 0)
    watch = Stopwatch(task, lambda index: index)
    first = watch.run(warmup=3, runs=4, min_secs=0)
    second = watch.run(warmup=3, runs=4, min_secs=0)
    assert (len(first["warmup_ns"]), len(first["stages_ns"]["total"])) == (3, 4)
    assert (len(second["warmup_ns"]), len(second["stages_ns"]["total"])) == (3, 4)
    assert task.frames == list(range(14))


def test_a_frame_and_its_result_are_held_until_the_next_as_a_loops_variables_are():
    class Doubling(ClockedTask):
        def __call__(self, frame):
            super().__call__(None)
            made.append(weakref.ref(doubled := frame * 2))
            return doubled

    def frame(_index):
        taken.append(weakref.ref(ones := np.ones(3)))
        return ones

    taken, made = [], []
    watch = Stopwatch(Doubling(0, 0, 0), frame)
    for done in range(3):
        watch.call()
        assert [kept() is None for kept in taken] == [kept() is None for kept in made] == [True] * done + [False]


def test_making_frames_is_not_timed():
    def slow_frame(index: int) -> int:
        busy_wait(20_000_000)
        return index

    samples = Stopwatch(ClockedTask(0, 1_000_000, 0), slow_frame).run(warmup=0, runs=3, min_secs=0)
    assert np.median(samples["stages_ns"]["total"]) < 15_000_000


def test_min_secs_asks_for_more_runs():
    start = perf_counter_ns()
    samples = Stopwatch(ClockedTask(0, 1_000_000, 0), lambda index: index).run(warmup=0, runs=1, min_secs=0.1)
    assert perf_counter_ns() - start >= 0.1e9
    assert len(samples["stages_ns"]["total"]) > 1

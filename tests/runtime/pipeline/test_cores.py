"""Cores that several pipelines share: turns in order, and models that keep within what there is."""

from __future__ import annotations

import threading
import time

import pytest

from quietframe.pipeline.cores import Cores
from quietframe.pipeline.models import Deadline

TIMES_MS = {"nano": 10.0, "small": 40.0, "base": 150.0}


def share(cores: Cores, fps: float, ms: float | None = None, *, can_yield: bool = False):
    made = cores.share()
    made.fps = fps
    if ms is not None:
        made.expect(ms, can_yield=can_yield)
    return made


@pytest.mark.parametrize("count", [1, 2])
def test_no_more_run_at_once_than_there_are_cores_and_in_the_order_they_came(count):
    cores = Cores(count)
    running, most, order = [], [], []

    def work(number):
        with cores.share():
            running.append(number)
            most.append(len(running))
            order.append(number)
            time.sleep(0.05)
            running.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for number, thread in enumerate(threads):
        thread.start()
        wait_for(lambda: len(order) + len(cores._waiting) == number + 1)  # noqa: B023  it waits, or runs
    for thread in threads:
        thread.join()
    assert max(most) == count
    assert count > 1 or order == sorted(order)


def test_a_turn_that_fails_gives_its_core_back():
    cores = Cores(1)
    mine = cores.share()
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), mine:
            raise ValueError("broken")
    with mine:
        pass


def test_who_comes_back_at_once_does_not_keep_the_others_out():
    """One core: while another waits, an eager one has one turn more at most, which had begun."""
    cores = Cores(1)
    turns, between, ended = [0], [], threading.Event()

    def eager():
        mine = cores.share()
        while not ended.is_set():
            with mine:
                turns[0] += 1
                time.sleep(0.01)

    thread = threading.Thread(target=eager)
    thread.start()
    other = cores.share()
    for _ in range(10):
        before = turns[0]
        with other:
            between.append(turns[0] - before)
        time.sleep(0.005)
    ended.set()
    thread.join()
    assert sorted(between)[5] <= 1


def test_auto_cameras_share_the_cores_evenly_at_the_start():
    """Two cores, headroom off: 1.6 for four cameras at 5 frames a second, so 0.4 each: 80 ms a frame."""
    cores = Cores(2)
    shares = [share(cores, 5) for _ in range(4)]
    chosen = [Deadline(TIMES_MS, 5, share=mine) for mine in shares]
    assert [each.model for each in chosen] == ["small", "small", "small", "base"], "the last one takes what is left"
    assert sum(mine.need for mine in shares) <= 1.6
    assert "of which 80.0 are its fair part" in chosen[0].first.why
    assert Deadline(TIMES_MS, 5).model == "base"


def test_what_others_leave_is_taken_and_what_they_take_is_not():
    cores = Cores(2)
    fixed = share(cores, 30, 20)  # 0.6 of 1.6
    mine = share(cores, 5)
    assert mine.fair == pytest.approx(1.0)
    assert Deadline(TIMES_MS, 5, share=mine).model == "base"  # 0.75
    assert fixed.left == pytest.approx(0.85)
    late = share(cores, 5)
    assert late.fair == pytest.approx(1.6 / 3), "who comes late has its part, whatever the others took"


def test_where_all_need_more_than_there_is_the_greatest_steps_down():
    cores = Cores(1)
    times = dict(TIMES_MS)
    shares = [share(cores, fps) for fps in (5, 5, 5)]
    deadlines = [Deadline(times, 5, share=mine) for mine in shares]
    assert [each.model for each in deadlines] == ["small"] * 3  # 0.2 each
    shares[0].expect(150, can_yield=True)  # as if it had chosen base: 0.75 + 0.2 + 0.2
    deadlines[0]._place = 2
    steps = [feed(deadline, ms) for deadline, ms in zip(deadlines, (150, 40, 40), strict=True)]
    assert [step and step.model for step in steps] == ["small", None, None]
    assert "all together need more cores than there are" in steps[0].why


def test_a_step_up_takes_what_the_others_leave_and_no_more():
    cores = Cores(1)
    mine, other = share(cores, 5), share(cores, 5, 100)  # 0.5
    deadline = Deadline(TIMES_MS, 5, share=mine)
    assert deadline.model == "small"
    assert feed(deadline, 40, seconds=15) is None  # base would take 0.75 of 0.3
    other.expect(0.1, can_yield=False)
    assert feed(deadline, 40, seconds=15, start_s=20).model == "base"


def test_a_camera_that_is_silent_needs_nothing(monkeypatch):
    cores = Cores(1)
    mine = share(cores, 5, 100)
    assert mine.need == pytest.approx(0.5)
    now_ns = time.monotonic_ns()
    monkeypatch.setattr("quietframe.pipeline.cores.time.monotonic_ns", lambda: now_ns + 11 * 10**9)
    assert mine.need == 0


def test_a_model_is_measured_once_for_all():
    cores = Cores(2)
    counted = []

    def measure():
        counted.append(1)
        time.sleep(0.02)
        return 5.0

    threads = [threading.Thread(target=cores.share().measured_ms, args=("nano", measure)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counted) == 1


def feed(deadline: Deadline, ms: float, seconds: float = 4, start_s: float = 0):
    """Give a deadline frames at 5 a second until it steps."""
    for index in range(round(5 * seconds)):
        if step := deadline.add(ms, round((start_s + index / 5) * 1e9)):
            return step
    return None


def wait_for(condition):
    end_s = time.monotonic() + 10
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.001)
    assert condition()

from __future__ import annotations

import os
import signal

import pytest

from quietframe_train.signals import NUMBERS, Signals

pytestmark = pytest.mark.usefixtures("heeded_signals")


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_what_is_no_step_at_once(number: int) -> None:
    signals = Signals()
    with pytest.raises(KeyboardInterrupt), signals:
        send(number)
        raise AssertionError("not reached")
    assert signals.exit_code == 128 + number


@pytest.mark.parametrize("number", NUMBERS)
def test_a_step_is_finished_first(number: int) -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), Signals() as signals:
        callback = signals.callback()
        callback.on_epoch_begin(0)
        for step in range(3):
            steps.append(step)
            if step == 1:
                send(number)
            callback.on_train_batch_end(step)
    assert steps == [0, 1]


def test_the_second_signal_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt), Signals() as signals:
        signals.callback().on_epoch_begin(0)
        send(signal.SIGINT)
        send(signal.SIGINT)
        raise AssertionError("not reached")


def test_a_signal_whose_exception_was_dropped_still_counts() -> None:
    with pytest.raises(KeyboardInterrupt), Signals() as signals:
        signals._received = signal.SIGINT  # what a handler leaves whose exception went nowhere
    assert signals.exit_code == 130


@pytest.mark.parametrize("number", NUMBERS)
def test_an_ignored_signal_stays_ignored(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)
    with Signals():
        send(number)
        assert signal.getsignal(number) == signal.SIG_IGN


def test_the_handlers_before_are_put_back() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    with Signals():
        assert [signal.getsignal(number) for number in NUMBERS] != before
    assert [signal.getsignal(number) for number in NUMBERS] == before

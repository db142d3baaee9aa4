from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from quietframe_train.signals import NUMBERS, Signals, blocked, check_interrupted

pytestmark = pytest.mark.usefixtures("heeded_signals")


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_noted_and_ends_where_it_may(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), Signals() as signals:
        for step in range(3):
            check_interrupted()
            if step == 1:
                send(number)
            steps.append(step)
    assert steps == [0, 1]
    assert signals.exit_code == 128 + number
    assert capfd.readouterr().err == "quietframe: interrupted; ends in a moment, at once if interrupted again\n"


@pytest.mark.parametrize("number", NUMBERS)
def test_the_second_signal_does_not_wait(number: int) -> None:
    code = (
        "import os, signal, time; from quietframe_train.signals import Signals\n"
        f"with Signals(): os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), {int(number)}); time.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == -number


def test_what_is_done_before_it_could_end_is_still_interrupted() -> None:
    with pytest.raises(KeyboardInterrupt), Signals():
        send(signal.SIGTERM)


def test_an_error_after_a_signal_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="wrong"), Signals():
        send(signal.SIGTERM)
        raise ValueError("wrong")


@pytest.mark.parametrize("number", NUMBERS)
def test_an_ignored_signal_stays_ignored(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)
    with Signals():
        send(number)
        check_interrupted()
        assert signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize("sent", [False, True])
def test_the_handlers_before_are_put_back(sent: bool) -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    try:
        with Signals():
            assert [signal.getsignal(number) for number in NUMBERS] != before
            if sent:
                send(signal.SIGINT)
    except KeyboardInterrupt:
        assert sent
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_nothing_is_interrupted_where_no_one_listens() -> None:
    check_interrupted()


def test_a_process_that_is_started_meanwhile_never_gets_them() -> None:
    with blocked():
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert not set(NUMBERS) & signal.pthread_sigmask(signal.SIG_BLOCK, ())
    for number in NUMBERS:
        process.send_signal(number)
    process.communicate(b"\n")
    assert process.returncode == 0

from __future__ import annotations

import threading
import time

from quietframe.sources.slot import Latest


def test_the_newest_value_is_taken_once() -> None:
    slot: Latest[int] = Latest()
    assert not slot.put(1)
    assert slot.put(2)
    assert slot.take() == 2
    assert slot.take(0.01) is None


def test_taking_waits_for_a_value() -> None:
    slot: Latest[int] = Latest()
    threading.Timer(0.1, slot.put, (7,)).start()
    start = time.monotonic()
    assert slot.take(5) == 7
    assert 0.05 < time.monotonic() - start < 2


def test_closing_wakes_who_waits_and_leaves_what_is_there() -> None:
    slot: Latest[int] = Latest()
    threading.Timer(0.1, slot.close).start()
    assert slot.take() is None
    assert slot.closed
    other: Latest[int] = Latest()
    other.put(3)
    other.close()
    assert other.take() == 3
    assert other.take() is None


def test_putting_when_empty_loses_nothing() -> None:
    slot: Latest[int] = Latest()

    def put_all() -> None:
        for value in range(200):
            slot.put_when_empty(value)
        slot.close()

    thread = threading.Thread(target=put_all)
    thread.start()
    taken = []
    while (value := slot.take(5)) is not None:
        taken.append(value)
        if value % 50 == 0:
            time.sleep(0.01)
    thread.join()
    assert taken == list(range(200))


def test_closing_wakes_who_waits_to_put() -> None:
    slot: Latest[int] = Latest()
    slot.put(1)
    thread = threading.Thread(target=slot.put_when_empty, args=(2,))
    thread.start()
    slot.close()
    thread.join(5)
    assert not thread.is_alive()
    assert slot.take() == 1

"""A slot for one value between threads: a late reader finds the newest one and no queue."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Hold the newest value until it is taken. Any number of threads may put and take."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._value: T | None = None
        self._closed = False

    def put(self, value: T) -> bool:
        """Put a value in place of the present one. Returns whether there was one, which is lost."""
        with self._changed:
            lost = self._value is not None
            self._value = value
            self._changed.notify_all()
            return lost

    def put_when_empty(self, value: T) -> bool:
        """Wait until the present value is taken, then put: nothing is lost. Returns False if the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._value is None or self._closed)
            if not self._closed:
                self._value = value
                self._changed.notify_all()
            return not self._closed

    def take(self, timeout_s: float | None = None) -> T | None:
        """Take the value, waiting for one for at most `timeout_s` (None: no limit). None: there was none."""
        with self._changed:
            self._changed.wait_for(lambda: self._value is not None or self._closed, timeout_s)
            value, self._value = self._value, None
            self._changed.notify_all()
            return value

    def close(self) -> None:
        """Wake all waiting threads; a value that is there can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether no more values will come; one may still be there."""
        return self._closed

"""A place for one thing, the newest: who comes late finds no queue."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Holds the newest value until it is taken. Any number of threads may put and take."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._value: T | None = None
        self._closed = False

    def put(self, value: T) -> bool:
        """Replace what is there. Returns whether something was, which nobody will see now."""
        with self._changed:
            lost = self._value is not None
            self._value = value
            self._changed.notify_all()
            return lost

    def put_when_empty(self, value: T) -> bool:
        """Wait until what is there is taken, then put: nothing is lost, and whoever puts is as slow as who takes.

        Returns whether it was put: not where it is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._value is None or self._closed)
            if not self._closed:
                self._value = value
                self._changed.notify_all()
            return not self._closed

    def take(self, timeout_s: float | None = None) -> T | None:
        """The value, once: wait for one for so long at most (None: for ever). None: there was none, or it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._value is not None or self._closed, timeout_s)
            value, self._value = self._value, None
            self._changed.notify_all()
            return value

    def close(self) -> None:
        """Wake all who wait; what is there can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nothing more will come; something may still be there."""
        return self._closed

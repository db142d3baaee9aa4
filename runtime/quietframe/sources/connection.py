"""What a connection to a stream is, and why there may be none."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from http.client import responses

import numpy as np
from numpy.typing import NDArray


class ConnectionLostError(Exception):
    """There is no connection, or none any more. The message says why, without the address."""


class Connection(ABC):
    """An open stream.

    Attributes:
        fps: frames per second, where known.
        frame_count: how many frames there will be, where known: it is a recording, and ends.
    """

    fps: float | None = None
    frame_count: int | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[bytes | NDArray[np.uint8] | None]:
        """Frames as they come, JPEGs or (H, W, 3) uint8 BGR; None when something came that is no whole one.

        Raises ConnectionLostError.
        """

    @abstractmethod
    def close(self) -> None:
        """Hang up."""


OnDamage = Callable[[int], None]
"""Called with the number of further damaged frames."""

Connect = Callable[[str, float, OnDamage], Connection]
"""Opens an address; the other side may be silent for so many seconds. Raises ConnectionLostError."""


def reason_of(exc: Exception, timeout_s: float) -> str:
    """What an error of a library means. Its own text is not repeated where it may hold the address."""
    if isinstance(exc, TimeoutError):
        return f"silent for {timeout_s:g} s"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({exc.verify_message})"
    if isinstance(exc, ssl.SSLError):
        return f"no secure connection ({exc.reason or 'TLS error'})"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return f"no proper address or answer ({type(exc).__name__})"


def refusal(status: int, *, has_login: bool) -> str:
    """What an HTTP or RTSP status means that is not a success."""
    if status == 401 and has_login:
        return "refuses this user or password (401)"
    if status == 401:
        return "asks for a user and a password (401): write USER:PASSWORD@ before the host"
    return f"answers {status} {responses.get(status, '')}".rstrip()

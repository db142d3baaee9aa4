"""What a connection to a stream is, and why there may be none."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from http.client import responses
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Taken: TypeAlias = "tuple[bytes | NDArray[np.uint8], float | None]"
"""A frame, a JPEG or (H, W, 3) or (H, W) uint8, and its time in a recording."""


class ConnectionLostError(Exception):
    """There is no connection, or none any more. The message says why, without the address."""


class Connection(Protocol):
    """An open stream: `Container` is one.

    Attributes:
        live: it has no end; else it is a recording.
        damaged: frames that came broken and were left out.
    """

    live: bool
    damaged: int

    def __iter__(self) -> Iterator[Taken | None]:
        """Frames as they come; None when something came that is no whole one.

        Raises ConnectionLostError or UnreadableError.
        """

    def close(self) -> None:
        """Hang up."""


Connect = Callable[[str, float], Connection]
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

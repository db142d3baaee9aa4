"""Network addresses, and how messages show them: without passwords."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.IGNORECASE)
_HIDDEN = "***"
# Of a query only these values are shown. Others may be passwords, whatever their names: cameras have loginpas, pwd,
# usr, st, hdnea and many more.
_HARMLESS = {"camera", "channel", "fps", "profile", "resolution", "size", "stream", "subtype"}


def is_network(spec: str) -> bool:
    """Whether it begins as an address does, `rtsp://`, blanks before it aside."""
    return _ADDRESS.match(spec.strip()) is not None


def scheme_of(address: str) -> str:
    """`rtsp` of `rtsp://…`, in lower case."""
    return address.partition("://")[0].lower()


def without_password(address: str) -> str:
    """An address as it may be shown: without user, password, fragment and the values of most query keys.

    Where it is not clear which part is which, only the scheme is shown.
    """
    address = address.strip()
    match = _ADDRESS.match(address)
    if match is None:
        return _HIDDEN
    scheme, host, path, query = match.groups()
    if "@" in address[match.end(2) :]:  # a password with a slash?
        return f"{scheme}://{_HIDDEN}"
    _, at, host = host.rpartition("@")
    path = re.sub("=.*", f"={_HIDDEN}", path, flags=re.DOTALL)  # some recorders take user=…&password=… in it
    shown = f"{scheme}://{at and _HIDDEN + at}{host}{path}"
    if query is not None:
        shown += "?" + "&".join(_shown_setting(setting) for setting in re.split("[&;]", query))
    return "".join(char if char.isprintable() else "?" for char in shown)


def as_shown(spec: str) -> str:
    """A source as it may be shown: of addresses what `without_password` leaves, others as they are."""
    return without_password(spec) if is_network(spec) else spec


def split_login(address: str) -> tuple[str, str | None, str]:
    """The address without its login, the user (None: there is none) and the password, both unquoted.

    Raises ValueError where it is no proper address.
    """
    parts = urlsplit(address)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return bare, None if parts.username is None else unquote(parts.username), unquote(parts.password or "")


def _shown_setting(setting: str) -> str:
    key, _, value = setting.partition("=")
    if not value.strip("="):
        return setting and _HIDDEN  # a lone word may be a key to a door
    return setting if key.lower() in _HARMLESS else f"{key}={_HIDDEN}"

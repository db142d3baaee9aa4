"""The one logger of the package, `logging.getLogger("quietframe")`: reconnects, drops, model switches, failures.

A library prints nothing: without a handler of the program's own, only the command line shows what is logged here.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

log = logging.getLogger("quietframe")
log.addHandler(logging.NullHandler())

origin: ContextVar[str] = ContextVar("origin", default="")
"""Whose lines a thread logs, where several pipelines run: their threads are started with a copy of its context."""

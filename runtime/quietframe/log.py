"""The project's one logger, `logging.getLogger("quietframe")`: a library logs, a program decides what is shown."""

from __future__ import annotations

import logging

log = logging.getLogger("quietframe")
log.addHandler(logging.NullHandler())  # else Python prints warnings of a logger that nobody set up

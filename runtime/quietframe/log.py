"""The one logger of the package, `logging.getLogger("quietframe")`: reconnects, drops, model switches, failures.

A library prints nothing: without a handler of the program's own, only the command line shows what is logged here.
"""

from __future__ import annotations

import logging

log = logging.getLogger("quietframe")
log.addHandler(logging.NullHandler())

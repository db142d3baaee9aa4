"""What a machine can do at most through the engines, and how near the models come to it.

The roofline: a layer is held up by arithmetic or by memory, whichever its multiply-accumulates for each byte meet
first (S. Williams, A. Waterman, D. Patterson: Roofline, Communications of the ACM 52(4), 2009).
"""

from __future__ import annotations

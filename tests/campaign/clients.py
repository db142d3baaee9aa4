"""Hostile clients of a running preview: its owner is served throughout, and nothing grows."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from campaign.mutate import mutate_bytes, pick

AT_A_TIME = 64
MAX_ANSWER_S = 2.0
MAX_GROWTH_MB = 5.0
_WARM_UP = 1  # waves


def attack(seeds: Iterator[int]) -> Iterator[dict[str, Any]]:
    """Waves of clients: silent, half-open, slow, without a token, oversized, damaged; each closes when it likes."""
    import test_connections as preview

    from quietframe.preview import connections

    connections.SILENT_S = 1.0  # in place of 10: half-open ones of earlier waves end while the campaign runs
    large = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: " + bytes(200_000).replace(b"\0", b"x")
    requests = [*preview.KINDS.values(), *preview.BAD, preview.REQUEST[:-2], large]
    with preview.running() as loop:
        before: tuple[int, float] | None = None
        longest_s, wave = 0.0, 0
        while members := [seed for _, seed in zip(range(AT_A_TIME), seeds, strict=False)]:
            strangers = []
            for seed in members:
                rng = np.random.default_rng(seed)
                sent = pick(rng, requests)
                if rng.random() < 0.3:
                    sent = mutate_bytes(rng, sent, requests)
                with suppress(OSError):
                    strangers.append(preview.call(loop, b"", pick(rng, ["127.0.0.1", "127.0.0.2", "127.0.0.3"])))
                    strangers[-1].settimeout(0.2)
                    for at in range(0, len(sent), max(1, len(sent) // int(rng.integers(1, 5)))):
                        strangers[-1].sendall(sent[at : at + len(sent)])
            start_s = time.monotonic()
            served = preview.is_served(loop)
            answer_s = time.monotonic() - start_s
            longest_s = max(longest_s, answer_s)
            for stranger in strangers:
                stranger.close()
            outcome = "owner served" if served and answer_s < MAX_ANSWER_S else "wrong"
            text = f"the owner was served: {served}, after {answer_s:.2f} s"
            wave += 1
            notes = [f"the owner waited {1000 * longest_s:.0f} ms at most"]
            if wave > _WARM_UP:
                descriptors, memory_mb = measured(preview)
                before = before or (descriptors, memory_mb)
                growth_mb = memory_mb - before[1]
                notes += [f"memory {growth_mb:+.1f} MB", f"descriptors {descriptors - before[0]:+d}"]
                if growth_mb > MAX_GROWTH_MB or descriptors > before[0] + 2:
                    time.sleep(2 * connections.SILENT_S)  # the last of the silent ones end
                    if measured(preview)[0] > before[0] + 2 or growth_mb > MAX_GROWTH_MB:
                        outcome, text = "wrong", "; ".join(notes)
            yield {"outcome": outcome, "text": text, "trials": len(members), "notes": notes}


def measured(preview: Any) -> tuple[int, float]:
    """The descriptors and the memory, in MB, of this process."""
    from campaign.soak import rss_mb

    gc.collect()
    return preview.descriptors(), rss_mb()

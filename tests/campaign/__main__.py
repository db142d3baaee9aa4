"""Try damaged inputs, broken streams, signals and hostile clients, and write a table of it: `make campaign`.

Each kind keeps its state in a file: a campaign that was interrupted goes on, and a larger one goes on from a smaller.
A finding is written with its input and its seed; `--only KIND --seed SEED --count 1 --out elsewhere` repeats it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime" / "preview"))  # for its loop and its hostile clients

from campaign.mutate import MUTATIONS
from campaign.worker import FAULTS, Worker

Outcome = dict[str, Any]
"""`outcome`, a word; `text`, more about it; `input`, the path of a file, if there is one."""


class Kind(NamedTuple):
    """A kind of trial: what is tried, how many times at `--scale 1`, and what runs the trials with these seeds."""

    what: str
    count: int
    run: Callable[[Iterator[int], Path], Iterator[Outcome]]


def inputs(kind: str) -> Callable[[Iterator[int], Path], Iterator[Outcome]]:
    """Trials of damaged inputs, each in a worker process. What ends it must be refused by the trial of model files."""

    def run(seeds: Iterator[int], folder: Path) -> Iterator[Outcome]:
        worker = Worker(kind)
        try:
            for seed in seeds:
                suffix, data = MUTATIONS[kind](np.random.default_rng(seed))
                path = folder / f"{kind}-{seed}.{suffix}"
                path.write_bytes(data)
                result = worker.run(path)
                if kind in ("tflite", "onnx") and result["outcome"] in ("crash", "hang", "memory"):
                    result = refused_by_the_trial(path) or result
                yield result | {"input": path}
        finally:
            worker.close()

    return run


def refused_by_the_trial(path: Path) -> Outcome | None:
    from quietframe.engines.trial import SWITCH, try_model
    from quietframe.errors import ModelLoadError

    os.environ[SWITCH] = "1"
    try:
        try_model(path)
    except ModelLoadError as exc:
        return {"outcome": "refused by the trial", "text": str(exc)}
    return None


def faults(seeds: Iterator[int], folder: Path) -> Iterator[Outcome]:
    from campaign.streams import break_a_stream

    return map(break_a_stream, seeds)


def signals(seeds: Iterator[int], folder: Path) -> Iterator[Outcome]:
    from campaign.signals import signal_a_command

    return (signal_a_command(seed, folder) for seed in seeds)


def clients(seeds: Iterator[int], folder: Path) -> Iterator[Outcome]:
    from campaign.clients import attack

    return attack(seeds)


def soak(seeds: Iterator[int], folder: Path) -> Iterator[Outcome]:
    from campaign.soak import soak

    return soak(seeds)


KINDS = {
    "image": Kind("damaged images: PNG, JPEG, TIFF, WebP, GIF, BMP, PPM, JPEG 2000, AVIF", 500, inputs("image")),
    "card": Kind("damaged model cards", 500, inputs("card")),
    "tflite": Kind("damaged .tflite files: changed fields, bytes", 300, inputs("tflite")),
    "onnx": Kind("damaged .onnx files: changed fields, bytes", 200, inputs("onnx")),
    "video": Kind("damaged videos: MP4, Matroska, AVI, WebM, MPEG-TS, H.264, HEVC", 250, inputs("video")),
    "stream": Kind("damaged streams on standard input: JPEGs, MPEG-TS, Matroska, H.264", 250, inputs("stream")),
    "faults": Kind("streams over HTTP that break: kill, stall, loss, garbage, new size, redirect, login", 10, faults),
    "signals": Kind(
        "SIGINT, SIGTERM, SIGHUP and SIGKILL at random moments in denoise, classify, models, info, doctor, demo, card, "
        "train, export and bench",
        10,
        signals,
    ),
    "clients": Kind("hostile clients of the preview, 64 at a time: silent, slow, large, without a token", 200, clients),
    "soak": Kind("frames of 4 sources to 8 clients", 40_000, soak),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"), help="[default: runs/campaign]")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--scale", type=float, default=1, help="how many times the default counts; 100: a night")
    parser.add_argument("--count", type=int, help="trials of each kind, whatever the scale")
    parser.add_argument("--seed", type=int, default=1, help="of the first trial; each next one is one higher")
    parser.add_argument("--table", type=Path, help="write the table into this Markdown file, between its markers")
    options = parser.parse_args()
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="campaign-")  # the user's own stays as it is
    (options.out / "findings").mkdir(parents=True, exist_ok=True)
    for name in options.only or KINDS:
        count = options.count or max(1, round(KINDS[name].count * options.scale))
        run_kind(name, options.out, options.seed, count)
    states = [json.loads(path.read_text()) for name in KINDS if (path := options.out / f"{name}.json").exists()]
    table = as_table(states)
    (options.out / "campaign.md").write_text(table)
    (options.out / "campaign.json").write_text(json.dumps(states, indent=1))
    if options.table:
        page, marked = options.table.read_text(), f"<!-- campaign -->\n\n{table}\n<!-- end -->"
        options.table.write_text(re.sub(r"<!-- campaign -->.*?<!-- end -->", lambda _: marked, page, flags=re.DOTALL))
    print(table)
    return int(any(state["findings"] for state in states))


def run_kind(name: str, out: Path, seed: int, count: int) -> None:
    """Run the trials of a kind that are still missing, and keep its state after each."""
    place = out / f"{name}.json"
    state: dict[str, Any] = {"kind": name, "seed": seed, "tried": 0, "outcomes": {}, "findings": [], "seconds": 0}
    if place.exists():
        state = json.loads(place.read_text())
    first = state["seed"] + state["tried"]
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        start_s, before_s = time.monotonic(), state["seconds"]
        trials = KINDS[name].run(iter(range(first, state["seed"] + count)), Path(folder))
        for trial, result in enumerate(trials, first):
            path: Path | None = result.get("input")
            outcome = result["outcome"]
            if outcome in FAULTS:
                kept = path and out / "findings" / path.name
                if path and kept:
                    kept.write_bytes(path.read_bytes())
                state["findings"].append(
                    {"seed": trial, "outcome": outcome, "text": result["text"], "input": kept and str(kept)}
                )
                print(f"{name} {trial}: {outcome}: {result['text'].strip().splitlines()[-1:]}", flush=True)
            if path:
                path.unlink()
            weight = result.get("trials", 1)
            state["tried"] += weight
            state["outcomes"][outcome] = state["outcomes"].get(outcome, 0) + weight
            state["seconds"] = round(before_s + time.monotonic() - start_s, 1)
            if result.get("notes"):
                state["notes"] = result["notes"]
            if trial % 50 == 0 or outcome in FAULTS or name not in MUTATIONS:
                write_state(place, state)
        write_state(place, state)


def write_state(place: Path, state: dict[str, Any]) -> None:
    part = place.with_suffix(".part")
    part.write_text(json.dumps(state, indent=1))
    part.replace(place)


def as_table(states: list[dict[str, Any]]) -> str:
    rows = ["| tried | how many | what became of them | findings |", "|---|---:|---|---:|"]
    for state in states:
        outcomes = Counter(state["outcomes"]).most_common()
        became = "; ".join([*(f"{outcome} {count:,}" for outcome, count in outcomes), *state.get("notes", [])])
        rows.append(f"| {KINDS[state['kind']].what} | {state['tried']:,} | {became} | {len(state['findings'])} |")
    return "\n".join([*rows, "", f"Python {platform.python_version()} on {platform.machine()}.", ""])


if __name__ == "__main__":
    sys.exit(main())

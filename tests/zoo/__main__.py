"""Export the models of the zoo, check the files, write the table: `make zoo`.

Each model's result is a file, and a run that was interrupted goes on. Models run in processes of their own: one that
crashes its process is a row of the table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

FAULTS = ("wrong", "crash", "traceback")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m zoo", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/zoo"), help="folder of the results [default: runs/zoo]")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="check these models, and anew")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time [default: 1]")
    parser.add_argument("--table", type=Path, help="write the results of all models to this Markdown file")
    parser.add_argument("--worker", nargs="+", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.worker:
        return work(options.worker, options.out)
    from zoo.models import ZOO

    for name in options.only or ():
        (options.out / f"{name}.json").unlink(missing_ok=True)
    names = [name for name in options.only or ZOO if not (options.out / f"{name}.json").exists()]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda first: run_apart(names[first :: options.jobs], options.out), range(options.jobs)))
    results = {name: json.loads((options.out / f"{name}.json").read_text()) for name in options.only or ZOO}
    if options.table:
        options.table.write_text(table(results))
    counts = Counter(each["outcome"] for of_model in results.values() for each in of_model.values())
    print(", ".join(f"{outcome} {count}" for outcome, count in counts.items()))
    return int(any(counts[fault] for fault in FAULTS))


def run_apart(names: list[str], out: Path) -> None:
    """Check models in another process; where one crashes it, in a new one from the next on."""
    while names := [name for name in names if not (out / f"{name}.json").exists()]:
        done = subprocess.run([sys.executable, "-m", "zoo", "--out", out, "--worker", *names], check=False)
        if done.returncode:
            crashed = next(name for name in names if not (out / f"{name}.json").exists())
            result = {"outcome": "crash", "text": f"the process ended with {done.returncode}"}
            (out / f"{crashed}.json").write_text(json.dumps({"all": result}))


def work(names: list[str], out: Path) -> int:
    import keras

    from zoo.check import Result, export_and_check, write_result
    from zoo.models import ZOO

    for name in names:
        keras.backend.clear_session()
        try:
            results = export_and_check(name, ZOO[name], out / name)
        except Exception:  # noqa: BLE001  whatever it is, it is this model's result
            results = {"all": Result("traceback", traceback.format_exc())}
        shutil.rmtree(out / name, ignore_errors=True)
        write_result(results, out / f"{name}.json")
        for target, result in results.items():
            print(f"{name:<20} {target:<12} {result.outcome:<8} {result.text}", flush=True)
    return 0


def table(results: dict[str, dict[str, dict[str, str]]]) -> str:
    """Write the page: counts, and a row for each model."""
    from zoo.check import MIN_PSNR_DB, OTHER_SIZE_HW, TARGETS
    from zoo.models import ZOO

    rows, reasons, counts = [], [], Counter[str]()
    for name, of_model in results.items():
        cells = [of_model.get(target) or of_model["all"] for target in TARGETS]
        counts.update(cell["outcome"] for cell in cells)
        texts = [cell["text"] if cell["outcome"] == "works" else cell["outcome"] for cell in cells]
        rows.append(f"| {name} | {ZOO[name].kind} | {' | '.join(texts)} |")
        for text in dict.fromkeys(cell["text"] for cell in cells if cell["outcome"] != "works"):
            where = [target for target, cell in zip(TARGETS, cells, strict=True) if cell["text"] == text]
            reasons.append(f"| {name} | {', '.join(where) if len(where) < len(TARGETS) else 'all'} | {text} |")
    total = sum(counts.values())
    summed = ", ".join(f"{outcome} {count} ({100 * count / total:.0f} %)" for outcome, count in counts.most_common())
    return PAGE.format(
        models=len(results),
        total=total,
        counts=summed,
        size="×".join(map(str, reversed(OTHER_SIZE_HW))),
        **MIN_PSNR_DB,
        rows="\n".join(rows),
        reasons="\n".join(reasons),
    )


PAGE = """# Foreign models

Models that no one here wrote, built by code with random weights: after keras.io's examples, `keras.applications`,
published designs, and one of each odd kind. `make zoo` exports each without a card, writes this page, and fails if
a file is wrong.

{models} models × 3 targets, {total} in all: {counts}.

A file *works* if LiteRT or ONNX Runtime themselves give what Keras gives, and QuietFrame's engine gives what they
give. Numbers of float32 files are the largest difference in any output value, as a share of the span of Keras'
outputs: at most 0.001 (0.02 for `keras-int8`, where Keras itself computes in 8 bits). Those of int8 files are the
PSNR between both with that span as the peak: at least {image:g} dB for images, {scores:g} dB for scores. Keras'
answer to another image, of eight the one that it tells best from the first, must fail the same comparison, so that a
file which said the same of all images could not pass. Models of any size run at {size}, at which they were neither
converted nor calibrated. The last layer of each is scaled so that its outputs spread; what a random model says is no
measure of a trained one.

*Refused*: there is no file, and the export says why in the line below. Denoisers are held to the export's own gate; a
classifier may decide one of ten images otherwise than Keras, as random ones decide many by a hair.

| model | what it stands for | tflite-fp32 | tflite-int8 | onnx-fp32 |
|---|---|---|---|---|
{rows}

## What was refused

| model | targets | what the export says |
|---|---|---|
{reasons}
"""


if __name__ == "__main__":
    sys.exit(main())

"""A model under its engine's profiler, in the process that measures it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from quietframe.engines import ENGINES, Engine
from quietframe_bench.profiles import Inputs, Node, Profile, Profiled, ProfileUnavailableError, TimedOperator


class WholeGraph:
    """A profile where the engine profiles no single operators: the time of all of them as one.

    Args:
        engine, inputs: what to run.
        nodes: the file's operators.
        why: the reason, for the notes.
    """

    def __init__(self, engine: Engine, inputs: Inputs, nodes: Sequence[Node], why: str) -> None:
        self._engine, self._inputs, self._why = engine, inputs, why
        shape = nodes[-1].output_shape if nodes else ()
        macs = sum(node.macs for node in nodes)
        self._all = TimedOperator("whole graph", f"{len(nodes)} operators as one", shape, macs)

    def run(self, *, warmup: int, runs: int) -> None:
        """See `Profile.run`."""
        for index in range(warmup + runs):
            begin = perf_counter_ns()
            self._engine.run(self._inputs)
            if index >= warmup:
                self._all.samples_ns.append(perf_counter_ns() - begin)

    def result(self) -> Profiled:
        """See `Profile.result`."""
        return Profiled("stopwatch around the engine", list(self._all.samples_ns), [self._all], [self._why])


def open_profile(path: Path, inputs: Inputs, *, threads: int) -> Profile:
    """Open a model under its engine's profiler; where that cannot be, its time as a whole.

    Args:
        path: the file, `.tflite` or `.onnx`; its engine has opened it before.
        inputs: what its engine is given for a frame.
        threads: how many the engine may use.
    """
    if path.suffix.lower() == ".onnx":
        from quietframe_bench.onnx_profile import OnnxProfile

        return OnnxProfile(path, inputs, threads=threads)
    from quietframe_bench.litert_file import tflite_nodes
    from quietframe_bench.litert_profile import LiteRtProfile

    nodes = tflite_nodes(path.read_bytes(), {name: array.shape for name, array in inputs.items()})
    engine = ENGINES[path.suffix.lower()](path, threads=threads)
    declared = {name: engine.inputs[name].as_declared(array) for name, array in inputs.items()}
    try:
        return LiteRtProfile(path, declared, nodes, threads=threads)
    except ProfileUnavailableError as exc:
        return WholeGraph(engine, inputs, nodes, str(exc))


class ProfiledModel:
    """A model under its engine's profiler with what its engine is given for a frame of that size.

    The model is called as in real use, so that padding and tiles are those of real use.
    """

    def __init__(self, *, model: str, task: Any, size_wh: list[int], threads: int) -> None:
        from quietframe_bench.frames import feed_for
        from quietframe_bench.subject import import_task

        subject: Any = import_task(task, model)(model, threads=threads)
        subject.engine = engine = _RecordingEngine(subject.engine)
        subject(feed_for(subject.card, None, (size_wh[0], size_wh[1])).frame(0))
        shapes = {name: list(array.shape) for name, array in engine.first.items()}
        self._profile = open_profile(Path(model), engine.first, threads=threads)
        self.facts = {"input_shapes": shapes, "engine_runs": engine.runs}

    def run(self, *, warmup: int, runs: int) -> None:
        """Run the model under the profiler. See `Profile.run`."""
        self._profile.run(warmup=warmup, runs=runs)

    def result(self) -> dict[str, Any]:
        """Return what the profiler found. See `Profile.result`."""
        return asdict(self._profile.result())


class _RecordingEngine:
    """An engine that keeps the first inputs it is given, and counts its runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.inputs, self.outputs, self.card_json = engine.inputs, engine.outputs, engine.card_json
        self.first: Inputs = {}
        self.runs = 0

    def run(self, inputs: Inputs) -> Inputs:
        """Run the engine. See `Engine.run`."""
        self.first = self.first or {name: array.copy() for name, array in inputs.items()}
        self.runs += 1
        return self._engine.run(inputs)

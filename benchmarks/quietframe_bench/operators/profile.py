"""The profile of a model in the process that measures it: what the two engines' profiles have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe.engines import ENGINES, Engine
from quietframe_bench.operators.nodes import Node

Inputs = Mapping[str, NDArray[Any]]


@dataclass
class TimedOperator:
    """An operator as an engine runs it.

    Attributes:
        kind: its type, by the engine's own name.
        name: the layer in the file that it computes, where that is known.
        output_shape: of that layer.
        macs, bytes: as of `Node`; None where they are not known.
        samples_ns: its time in each run.
    """

    kind: str
    name: str = ""
    output_shape: tuple[int, ...] = ()
    macs: int | None = None
    bytes: int | None = None
    samples_ns: list[int] = field(default_factory=list)


@dataclass
class Profiled:
    """What a profile found.

    Attributes:
        source: who measured the times.
        runs_ns: each whole run, by the profiler's clock.
        operators: in the order in which they ran.
        notes: what a reader must know.
    """

    source: str
    runs_ns: list[int]
    operators: list[TimedOperator]
    notes: list[str] = field(default_factory=list)

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Task(Protocol):
    """A denoiser or classifier whose engine can be exchanged."""

    engine: Engine
    card: ModelCard

    def __call__(self, frame: NDArray[np.uint8], /) -> Any:
        """The result for a frame."""
        ...


class Profile(Protocol):
    """A model that runs under its engine's profiler."""

    def run(self, *, warmup: int, runs: int) -> None:
        """Run it `warmup` times unseen, then `runs` times."""
        ...

    def result(self) -> Profiled:
        """What all runs gave. The last call."""
        ...


class WholeGraph:
    """A profile where the engine tells nothing of its operators: the time of all of them as one.

    Args:
        engine, inputs: what to run.
        nodes: the file's operators.
        why: the reason, for the notes.
    """

    def __init__(self, engine: Engine, inputs: Inputs, nodes: Sequence[Node], why: str) -> None:
        self._engine, self._inputs = engine, inputs
        shape = nodes[-1].output_shape if nodes else ()
        macs = sum(node.macs for node in nodes)
        self._all = TimedOperator("whole graph", f"{len(nodes)} operators as one", shape, macs)
        self._why = why

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


class RecordingEngine:
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


def open_for_frame(
    kind: Callable[..., Task], path: Path, size_wh: tuple[int, int], threads: int
) -> tuple[Profile, dict[str, Any]]:
    """A model under its engine's profiler with what its engine is given for a frame of that size, and facts about it.

    Args:
        kind: the class of the task: the real one, so that padding and tiles are those of real use.
        path: the model file.
        size_wh: width and height of the frame, which is the bundled photograph with noise.
        threads: how many the engine may use.
    """
    from quietframe_bench.frames import open_feed

    task = kind(path, threads=threads)
    engine = RecordingEngine(task.engine)
    task.engine = engine
    image = task.card.tensor("image", "inputs")
    gray = image is not None and image.colour == "GRAY"
    task(open_feed(None, size_wh, gray=gray).frame(0))
    shapes = {name: list(array.shape) for name, array in engine.first.items()}
    return open_profile(path, engine.first, threads=threads), {"input_shapes": shapes, "engine_runs": engine.runs}


def open_profile(path: Path, inputs: Inputs, *, threads: int) -> Profile:
    """A model under its engine's profiler; where that cannot be, its time as a whole.

    Args:
        path: the file, `.tflite` or `.onnx`; its engine has opened it before.
        inputs: what its engine is given for a frame.
        threads: how many the engine may use.
    """
    if path.suffix.lower() == ".onnx":
        from quietframe_bench.operators.onnx_profile import OnnxProfile

        return OnnxProfile(path, inputs, threads=threads)
    from quietframe_bench.operators.litert_file import tflite_nodes
    from quietframe_bench.operators.litert_library import ProfileUnavailableError
    from quietframe_bench.operators.litert_profile import LiteRtProfile

    nodes = tflite_nodes(path.read_bytes(), {name: array.shape for name, array in inputs.items()})
    engine = ENGINES[path.suffix.lower()](path, threads=threads)
    declared = {name: engine.inputs[name].as_declared(array) for name, array in inputs.items()}
    try:
        return LiteRtProfile(path, declared, nodes, threads=threads)
    except ProfileUnavailableError as exc:
        return WholeGraph(engine, inputs, nodes, str(exc))

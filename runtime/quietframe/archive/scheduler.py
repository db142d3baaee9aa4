"""Ray Data's part: a list of files, worker processes that hold a model, and the rows that they give."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from quietframe.archive.places import Item
from quietframe.archive.workers import Row, Worker, as_row
from quietframe.cpu import physical_cores
from quietframe.engines.trial import SWITCH
from quietframe.errors import MissingExtraError, UsageError

LOCAL = "local"
"""As an address: workers on this machine, started and ended by the run."""

_IMAGES_A_TASK = 16
"""So many images go to a worker at once: a task costs some milliseconds."""

_PASSES = ((_IMAGES_A_TASK, 2), (1, 1))
"""Images in a task, and tasks that a worker holds: what a killed worker took along is done again one by one."""

_RETRIES = 2
_LOST = f"the worker process ended {_RETRIES + 1} times in a row (a library crashed, or memory ran out)"


class Pool:
    """Worker processes of a cluster. Made by `cluster`.

    Attributes:
        workers: how many there are, at most.
    """

    def __init__(self, workers: int, limit: int | None, threads: int) -> None:
        self.workers = workers
        self._limit, self._threads = limit, threads

    def run(
        self,
        items: Sequence[Item],
        is_alone: Callable[[Item], bool],
        worker: type[Worker],
        task: Any,
        on_progress: Callable[[int, int], None],
    ) -> Iterator[Row]:
        """Have the files worked on; yield the rows that the workers give. A worker that is killed is started anew.

        Args:
            items: the files.
            is_alone: whether a file is a task of its own.
            worker: a class made with `task` in each process.
            task: picklable.
            on_progress: called with the number of files that are done, and of all.

        Raises:
            UsageError: no worker can be started.
        """
        left = dict(enumerate(items))
        if not left:
            return
        for size, held in _PASSES:
            spread = max(1, min(size, len(left) // (4 * self.workers)))  # some tasks for each worker, at least
            for row in self._one_pass(_grouped(left, is_alone, spread), worker, task, held):
                place = int(row["place"])
                yield row
                if left.pop(place, None):
                    on_progress(len(items) - len(left), len(items))
            if not left:
                return
        for place, item in left.items():
            yield {"place": place, "error": f"{item.shown}: {_LOST}", "frames": 0}

    def _one_pass(self, rows: list[Row], worker: type[Worker], task: Any, held: int) -> Iterator[Row]:
        import ray.data

        data: Any = ray.data.from_items(rows, override_num_blocks=len(rows))
        size = min(self.workers, len(rows))
        compute = ray.data.ActorPoolStrategy(
            min_size=1 if self._limit is None else size,
            max_size=self._limit and size,
            initial_size=size,
            max_tasks_in_flight_per_actor=held,
        )
        with warnings.catch_warnings():
            # Ray 2.60 to 2.63 know no other way to limit the retries, without which a file that crashes a library would
            # have its worker started for ever.
            warnings.simplefilter("ignore")
            data = data.flat_map(
                worker,
                fn_constructor_args=(task,),
                compute=compute,
                num_cpus=self._threads,
                max_task_retries=_RETRIES,
            )
        try:
            yield from data.iter_rows()
        except ray.exceptions.RayError as exc:
            lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
            raise UsageError(f"no worker could be started: {lines[-1] if lines else type(exc).__name__}") from exc


@contextmanager
def cluster(address: str, workers: int | None, threads: int, *, ordered: bool = False) -> Iterator[Pool]:
    """Connect to a cluster, or start one of this machine's processes and end it behind the block.

    Args:
        address: `local`, `auto` for the cluster that this machine belongs to, or an address. Where Ray is connected
            already, that cluster is used and left as it is.
        workers: processes; None: what the cores allow, on a cluster also those of machines that come later.
        threads: of each worker.
        ordered: give the rows in the order of the files.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: no such cluster.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"Expected workers to be at least 1. Received: {workers}")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # else Ray tells its makers how it is used
    try:
        import ray
        import ray.data
    except ImportError as exc:
        raise MissingExtraError("Ray Data", "ray") from exc
    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            stack.callback(ray.shutdown)
            _connect(ray, address, (workers or max(1, physical_cores() // threads)) * threads)
        context = ray.data.DataContext.get_current()
        changes = {
            "enable_progress_bars": False,
            "print_on_execution_start": False,
            "max_errored_blocks": -1,
        }
        for name, value in changes.items():
            stack.callback(setattr, context, name, getattr(context, name))
            setattr(context, name, value)
        stack.callback(setattr, context.execution_options, "preserve_order", context.execution_options.preserve_order)
        context.execution_options.preserve_order = ordered
        logger = logging.getLogger("ray.data")
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)
        resources: Any = ray.cluster_resources  # which has no types
        there = max(1, int(resources().get("CPU", 1)) // threads)
        limit = workers or (there if address == LOCAL else None)
        yield Pool(workers or there, limit, threads)


def _connect(ray: Any, address: str, cpus: int) -> None:
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == LOCAL:
        options |= {"num_cpus": cpus, "include_dashboard": False}
    elif SWITCH in os.environ:
        options["runtime_env"] = {"env_vars": {SWITCH: os.environ[SWITCH]}}
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except Exception as exc:
        raise UsageError(f"--ray {address}: no cluster there ({' '.join(str(exc).split())})") from exc
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, handler)  # Ray sets its own


def _grouped(items: dict[int, Item], is_alone: Callable[[Item], bool], size: int) -> list[Row]:
    """Tasks in the order of the files: of one file that is alone, or of up to `size` others."""
    groups: list[list[tuple[int, Item]]] = []
    was_alone = True
    for place, item in items.items():
        if was_alone or is_alone(item) or len(groups[-1]) == size:
            groups.append([])
        groups[-1].append((place, item))
        was_alone = is_alone(item)
    return [as_row(group) for group in groups]


NO_POOL = Pool(0, None, 1)
"""For no files."""

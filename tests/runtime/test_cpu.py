from __future__ import annotations

import os

import pytest

from quietframe.cpu import logical_cores, physical_cores
from support.process import run_python

PRINT = "import os, sys; os.sched_setaffinity(0, eval(sys.argv[1])); "
PRINT += "from quietframe.cpu import physical_cores; print(physical_cores())"

linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")


def cores_with(cpus: set[int]) -> int:
    return int(run_python("-c", PRINT, repr(cpus)).stdout)


@linux
def test_between_one_and_the_cpus_that_are_allowed():
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))


@linux
def test_a_process_bound_to_one_cpu_has_one_core():
    assert cores_with({min(os.sched_getaffinity(0))}) == 1


@linux
def test_cores_of_two_halves_add_up_to_no_less_than_the_whole():
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("one CPU has no halves")
    middle = len(allowed) // 2
    halves = cores_with(set(allowed[:middle])) + cores_with(set(allowed[middle:]))
    assert physical_cores() <= halves <= len(allowed)


def test_without_affinity_all_processors_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert logical_cores() == (os.cpu_count() or 1) >= physical_cores() >= 1

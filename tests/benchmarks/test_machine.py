from __future__ import annotations

import subprocess

import numpy as np
import psutil

from quietframe.commit import describe_commit
from quietframe_bench.machine import describe_machine, describe_versions


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine["cpu"] or machine["board"]
    assert 1 <= machine["physical_cores"] <= machine["logical_cores"]
    assert machine["memory_mb"] == round(psutil.virtual_memory().total / 1e6)
    assert machine["load_1min"] >= 0


def test_the_versions_are_those_that_run():
    versions = describe_versions()
    assert versions["numpy"] == np.__version__
    assert versions.keys() >= {"python", "quietframe", "ai-edge-litert"}


def git(folder, *args):
    settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *settings, "-C", str(folder), *args], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commit_and_whether_it_is_changed(tmp_path):
    package = tmp_path / "checkout" / "package"
    package.mkdir(parents=True)
    file = package / "module.py"
    file.write_text("a = 1\n")
    assert describe_commit(file) is None  # no checkout
    git(tmp_path / "checkout", "init", "-q")
    assert describe_commit(file) is None  # a checkout, but not of this file
    git(package, "add", "module.py")
    git(package, "commit", "-qm", "first")
    sha = git(package, "rev-parse", "HEAD")
    assert describe_commit(file) == {"sha": sha, "dirty": False}
    file.write_text("a = 2\n")
    assert describe_commit(file) == {"sha": sha, "dirty": True}

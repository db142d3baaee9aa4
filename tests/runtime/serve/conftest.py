"""What the tests of many cameras share: cameras that run while a test looks at them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from quietframe.serve import Cameras, read_config
from support.stream_servers import wait_until


class Running:
    """Cameras that run in a thread."""

    def __init__(self, cameras: Cameras) -> None:
        self.cameras = cameras
        self.thread = threading.Thread(target=cameras.run)

    def get(self, path: str) -> bytes:
        """What the server answers."""
        with urlopen(self.cameras.url + path, timeout=10) as answer:
            return bytes(answer.read())

    def states(self) -> dict[str, Any]:
        """The state of each camera, by its name."""
        return {state["camera"]: state for state in json.loads(self.get("stats.json"))["cameras"]}


@pytest.fixture
def running(tmp_path: Path) -> Callable[..., Any]:
    """`with running(text, **options) as cameras:`. The text is a file of `quietframe serve` without its address."""
    for package in ("starlette", "uvicorn", "websockets", "prometheus_client"):
        pytest.importorskip(package, reason="the preview needs pip install 'quietframe[serve]'")

    @contextmanager
    def run(text: str, **options: Any) -> Iterator[Running]:
        path = tmp_path / "config.toml"
        path.write_text(f'[server]\naddress = "127.0.0.1:0"\n{text}', encoding="utf-8")
        running = Running(Cameras(read_config(path), **options))
        running.thread.start()
        try:
            assert wait_until(lambda: ":0/" not in running.cameras.url, 10)  # it listens
            yield running
        finally:
            running.cameras.stop()
            running.thread.join(30)
            assert not running.thread.is_alive()

    return run

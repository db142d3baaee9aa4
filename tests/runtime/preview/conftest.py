"""What the preview's tests share: the helper files beside this one can be imported, and a browser, if there is one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode puts no folder there


@pytest.fixture(scope="session")
def serve() -> None:
    """Skip where the extra `serve` is not installed."""
    for package in ("starlette", "uvicorn", "websockets"):
        pytest.importorskip(package, reason="the preview needs pip install 'quietframe[serve]'")


@pytest.fixture(scope="session")
def running_browser(serve: None) -> Iterator[Any]:
    """One Chromium for all tests."""
    import chromium

    if chromium.PROGRAM is None:
        pytest.skip("no Chromium is installed: apt install chromium")
    with chromium.Browser() as browser:
        yield browser


@pytest.fixture
def browser(running_browser: Any) -> Iterator[Any]:
    """A desktop window on an empty page; the test fails if a page of it reports an error."""
    running_browser.look((1280, 800))
    running_browser.errors.clear()
    yield running_browser
    running_browser.call("Page.navigate", url="about:blank")
    # A test's server may be gone before its page is: that it looks for it is right.
    assert [error for error in running_browser.errors if "ERR_CONNECTION_REFUSED" not in error] == []

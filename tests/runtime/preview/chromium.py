"""A headless Chromium, driven over the DevTools protocol.

Not through a WebDriver: sizes, colour schemes, touch and the page's errors need the protocol anyway, and it takes no
more than the `websockets` that the preview itself brings.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One window with one page. Leave its `with` statement to end it.

    Attributes:
        errors: what the page wrote to the console as an error, did not catch or was refused.
    """

    def __init__(self) -> None:
        from websockets.sync.client import connect

        assert PROGRAM is not None
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0")
        self._process = subprocess.Popen(
            [PROGRAM, *options, f"--user-data-dir={self._folder.name}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port_file = Path(self._folder.name, "DevToolsActivePort")
        wait_for(lambda: port_file.exists() and "\n" in port_file.read_text(encoding="ascii"), timeout_s=30)
        port = port_file.read_text(encoding="ascii").split()[0]
        pages: list[Any] = []

        def find_page() -> bool:
            with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages[:] = [target for target in json.load(answer) if target["type"] == "page"]
            return bool(pages)

        wait_for(find_page)
        self._connection = connect(pages[0]["webSocketDebuggerUrl"], max_size=None, compression=None)
        self._socket = self._connection.__enter__()
        self._calls = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.__exit__(None, None, None)
        self._process.terminate()
        self._process.wait(10)
        self._folder.cleanup()

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol; gives its result."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(30))
            self._note(message)
            if message.get("id") == self._calls:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(parameters["exceptionDetails"]["exception"].get("description", "exception"))
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.errors.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
            case "Runtime.consoleAPICalled" if parameters["type"] == "error":
                self.errors.append(str(parameters["args"]))

    def open(self, url: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=url)
        wait_for(lambda: self.run("document.readyState === 'complete' && location.href !== 'about:blank'"))

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def look(self, size_wh: tuple[int, int], *, scheme: str = "light", touch: bool = False, scale: float = 1) -> None:
        """Set the window's size in CSS pixels, the colour scheme, and whether it is a phone."""
        width, height = size_wh
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=touch
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def centre(self, selector: str) -> tuple[float, float]:
        """Where an element is, in CSS pixels."""
        box = self.run(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
                       f"(document.querySelector('{selector}').getBoundingClientRect())")  # fmt: skip
        return box[0], box[1]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse, move it in steps, let it go."""
        self._mouse("mousePressed", start)
        for part in (0.25, 0.5, 0.75, 1):
            self._mouse("mouseMoved", tuple(a + (b - a) * part for a, b in zip(start, end, strict=True)))
        self._mouse("mouseReleased", end)

    def click(self, selector: str) -> None:
        """Press and let go the mouse on an element."""
        where = self.centre(selector)
        self.drag(where, where)

    def _mouse(self, kind: str, where: tuple[float, ...]) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", buttons=1, clickCount=1)

    def swipe(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The same with a finger."""
        for kind, points in (("touchStart", [start]), ("touchMove", [end]), ("touchEnd", [])):
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])

    def key(self, name: str) -> None:
        """Press a key, by its DOM name."""
        code = {"PageUp": 33, "PageDown": 34, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}[name]
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def screenshot(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> None:
    """Until it is true. Fails after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.05)

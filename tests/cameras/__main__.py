"""Measure `quietframe serve` with real streams over the loopback: `make cameras`.

`soak`: six cameras, two of them broken, beside one camera alone: drops and latency. `cost`: the processor's time of one
camera, by model and rate. Nothing else should run meanwhile: what serves the streams is on the same machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import av
import cv2
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from quietframe.assets import photo_bgr
from quietframe.cpu import cpu_model, logical_cores, physical_cores
from quietframe.noise import add_gaussian
from support.stream_servers import Answer, Program, Server, free_port, rtsp_server, wait_until

MODELS = ("camera-nano", "camera-small", "video-nano", "video-small")
RATES = (5, 15, 30)
SIZE_WH = 640, 480
SERVED_FPS, MAX_FPS = 25, 5
SIGMA_255 = 15
WARM_UP_S = 8.0
BROKEN_S = 5.0


def frames(count: int) -> Iterator[np.ndarray]:
    """A photograph that moves, with noise."""
    width, height = SIZE_WH
    photo = cv2.resize(photo_bgr(), (width * 5 // 4, height), interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng(1)
    for index in range(count):
        left = round((width // 4) * (1 - np.cos(2 * np.pi * index / count)) / 2)
        yield add_gaussian(np.ascontiguousarray(photo[:, left : left + width]), SIGMA_255, rng)


class Running:
    """`quietframe serve` with some cameras, in a process of its own."""

    def __init__(self, folder: Path, text: str) -> None:
        path, port = folder / "cameras.toml", free_port()
        path.write_text(f'[server]\naddress = "127.0.0.1:{port}"\n{text}', encoding="utf-8")
        self._url = f"http://127.0.0.1:{port}/"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "quietframe", "serve", str(path)], stderr=(folder / "log.txt").open("a")
        )
        assert wait_until(self._answers, 30), "the server does not answer"

    def _answers(self) -> bool:
        try:
            return bool(self.states())
        except OSError:
            return False

    def states(self) -> dict[str, dict[str, Any]]:
        """The state of each camera, by its name."""
        with urlopen(self._url + "stats.json", timeout=10) as answer:
            return {state["camera"]: state for state in json.load(answer)["cameras"]}

    def cpu_s(self) -> float:
        """The processor's time that the process took so far."""
        with urlopen(self._url + "metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return next(s.value for family in families for s in family.samples if s.name == "process_cpu_seconds_total")

    def stop(self) -> int:
        """End it as a service's manager does, and return its status."""
        self._process.terminate()
        return self._process.wait(60)


@contextmanager
def running(text: str) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        made = Running(Path(folder), text)
        try:
            yield made
        finally:
            assert made.stop() == 0, (Path(folder) / "log.txt").read_text(encoding="utf-8")


def camera(name: str, source: str, *lines: str) -> str:
    return "\n".join(["[[camera]]", f'name = "{name}"', f'source = "{source}"', *lines, ""])


# ---- Six cameras


def mjpeg_server(jpegs: list[bytes], *, breaks: bool = False) -> Server:
    """A server of JPEGs at `SERVED_FPS`; one that breaks off after some seconds, and every other time says nothing."""
    server = Server()

    def send(answer: Answer) -> None:
        answer.begin()
        if breaks and len(server.requests) % 2 == 0:
            time.sleep(BROKEN_S)
            return
        start_s = time.monotonic()
        for index in range(10**9):
            time.sleep(max(0, start_s + index / SERVED_FPS - time.monotonic()))
            jpeg = jpegs[index % len(jpegs)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            answer.send(head.encode() + jpeg + b"\r\n")
            if breaks and index > SERVED_FPS * BROKEN_S:
                return

    server.scripts = [send]
    return server


def killed_again_and_again(port: int, ended: threading.Event) -> None:
    """An RTSP server that is killed, and started again."""
    while not ended.is_set():
        server = served_rtsp(port)
        ended.wait(3 * BROKEN_S)
        server.kill()
        ended.wait(2 * BROKEN_S)


def served_rtsp(port: int) -> Program:
    return rtsp_server("/usr/bin/python3", port, "--size", "x".join(map(str, SIZE_WH)), "--fps", str(SERVED_FPS))


def soak(seconds: float, model: str) -> int:
    """Print a table; the status says whether a healthy camera dropped a frame, or did not give 5 a second."""
    jpegs = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes() for frame in frames(50)]
    defaults = f'[defaults]\nmodel = "{model}"\nmax_fps = {MAX_FPS}\ntimeout_s = 3\n'
    ports = [free_port() for _ in range(3)]
    ended = threading.Event()
    with ExitStack() as stack:
        for port in ports[:2]:
            stack.callback(served_rtsp(port).kill)
        servers = [mjpeg_server(jpegs), mjpeg_server(jpegs), mjpeg_server(jpegs, breaks=True)]
        for server in servers:
            stack.callback(server.close)
        breaker = threading.Thread(target=killed_again_and_again, args=(ports[2], ended))
        breaker.start()
        stack.callback(breaker.join)
        stack.callback(ended.set)
        sources = {f"rtsp-{number}": f"rtsp://127.0.0.1:{port}/live" for number, port in enumerate(ports[:2], 1)}
        sources |= {f"http-{number}": server.url for number, server in enumerate(servers[:2], 1)}
        healthy = list(sources)
        alone: dict[str, float] = {}
        for name in ("rtsp-1", "http-1"):
            with running(defaults + camera(name, sources[name])) as one:
                time.sleep(WARM_UP_S + min(60, seconds / 10))
                alone[name[:4]] = one.states()[name]["age_p95_ms"]
        sources |= {"rtsp-killed": f"rtsp://127.0.0.1:{ports[2]}/live", "http-breaks": servers[2].url}
        with running(defaults + "".join(camera(*each) for each in sources.items())) as all_six:
            time.sleep(WARM_UP_S)
            before = all_six.states()
            start_s, cpu_s = time.monotonic(), all_six.cpu_s()
            time.sleep(seconds)
            after = all_six.states()
            share = (all_six.cpu_s() - cpu_s) / (time.monotonic() - start_s)
    print(
        f"\n{seconds:g} s, {model}, {SIZE_WH[0]}x{SIZE_WH[1]}, {MAX_FPS} of {SERVED_FPS} frames a second; {machine()}"
    )
    print(f"whole process: {100 * share:.0f} % of a core\n")
    print("| camera | frames | dropped | reconnects | latency p95, ms | alone, ms |\n|---|---|---|---|---|---|")
    lost = False
    for name in sources:
        counts = [after[name].get(key, 0) - before[name].get(key, 0) for key in ("processed", "dropped", "reconnects")]
        p95 = f"{after[name]['age_p95_ms']:.0f}"
        is_healthy = name in healthy
        lost |= is_healthy and (counts[1] > 0 or counts[0] < 0.98 * MAX_FPS * seconds)
        print("|", " | ".join([name, *map(str, counts), p95, f"{alone[name[:4]]:.0f}" if is_healthy else ""]), "|")
    return int(lost)


# ---- What a camera costs


def h264_stream(folder: Path, port: int) -> Program:
    """A clip of H.264 at 30 frames a second, again and again, as MPEG-TS over UDP, which costs the sender little."""
    path = folder / "clip.ts"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", 30, options={"preset": "veryfast", "crf": "20", "bf": "0", "g": "60"})
        stream.width, stream.height = SIZE_WH
        for frame in frames(300):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "bgr24")))
        out.mux(stream.encode())
    sends = ["ffmpeg", "-v", "quiet", "-re", "-stream_loop", "-1", "-i", str(path), "-c", "copy", "-f", "mpegts"]
    return Program([*sends, f"udp://127.0.0.1:{port}?pkt_size=1316"])


def cost(seconds: float) -> int:
    """Print the processor's time of a camera in a table: a model in each row, a rate in each column."""
    paused = '[[camera.schedule]]\nfrom = "00:00"\nto = "23:59:59"\npaused = true'
    rows: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        sender = h264_stream(Path(folder), port)
        try:
            for model in (None, *MODELS):
                for rate in RATES:
                    lines = [f'model = "{model or MODELS[0]}"', f"max_fps = {rate}", *([] if model else [paused])]
                    with running(camera("one", f"udp://127.0.0.1:{port}", *lines)) as one:
                        time.sleep(WARM_UP_S)
                        before, cpu_s, start_s = one.states()["one"], one.cpu_s(), time.monotonic()
                        time.sleep(seconds)
                        after, cpu_s, wall_s = one.states()["one"], one.cpu_s() - cpu_s, time.monotonic() - start_s
                    fps = (after["processed"] - before["processed"]) / wall_s
                    short = "" if model is None or fps > 0.97 * rate else f" ({fps:.1f} frames a second)"
                    row = rows.setdefault(f"`{model}`" if model else "decoded, and not denoised", [])
                    row.append(f"{100 * cpu_s / wall_s:.1f}{short}")
                    print(model, rate, row[-1], file=sys.stderr, flush=True)
        finally:
            sender.kill()
    print(f"\n{SIZE_WH[0]}x{SIZE_WH[1]}, H.264 at 30 frames a second, {seconds:g} s each; {machine()}\n")
    print("| % of a core |", " | ".join(f"{rate} a second" for rate in RATES), "|\n|---|" + "---|" * len(RATES))
    for name, row in rows.items():
        print("|", " | ".join([name, *row]), "|")
    return 0


def machine() -> str:
    return f"{cpu_model()}, {logical_cores()} logical and {physical_cores()} physical cores"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    six = kinds.add_parser("soak")
    six.add_argument("--seconds", type=float, default=600)
    six.add_argument("--model", default="camera-small")
    kinds.add_parser("cost").add_argument("--seconds", type=float, default=30)
    options = vars(parser.parse_args())
    return {"soak": soak, "cost": cost}[options.pop("kind")](**options)


if __name__ == "__main__":
    sys.exit(main())

"""A client of the preview, in a process of its own as a browser is: `python -m quietframe_bench.preview_client URL`.

It takes pictures over the WebSocket as fast as they are offered, and says of each that it is shown.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Take pictures until the server goes away; print how many there were."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect
    from websockets.typing import Origin

    url = sys.argv[1].replace("http://", "ws://", 1).rstrip("/")
    pictures = 0
    with connect(f"{url}/live", origin=Origin(sys.argv[1].rstrip("/")), max_size=None) as socket:
        print("connected", flush=True)  # noqa: T201  whoever started this waits for it
        try:
            for message in socket:
                if isinstance(message, bytes):
                    pictures += 1
                    socket.send("shown")
        except ConnectionClosed:
            pass
    print(pictures, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

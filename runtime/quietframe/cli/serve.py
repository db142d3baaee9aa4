"""`quietframe serve`: many cameras in one process, from one file."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from itertools import chain, repeat

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED, NO_ISOLATE, ends
from quietframe.cli.service import notify_service, stopped_by_signals


@click.command(short_help="Denoise many cameras, from one file.")
@click.argument("config", metavar="CONFIG.toml")
@click.option("--check", is_flag=True, help="Validate the file, and run nothing.")
@NO_ISOLATE
@click.option("--json", "as_json", is_flag=True, help="Print what each camera did as one JSON object, at the end.")
def serve(config: str, check: bool, as_json: bool) -> int:
    """Denoise the cameras that CONFIG.toml names, all in one process, until it is stopped.

    The file holds cameras, models, outputs and schedules; its page in the documentation is docs/serve.md. A browser
    shows a wall of all and a page for each, /metrics is for Prometheus. A camera that fails touches no other. The token
    of the link is that of token_file, or QUIETFRAME_TOKEN. Ctrl-C finishes what is recorded.
    """
    from quietframe.cli.denoise import sentence
    from quietframe.cli.terminal import LogLines, json_line, say
    from quietframe.descriptors import suppress_native_output
    from quietframe.serve import Cameras, read_config

    settings = read_config(config)
    if check:
        names = [camera.name for camera in settings.cameras]
        say(f"{config}: {len(names)} camera{'s' if len(names) > 1 else ''}: {', '.join(names)}")
        if as_json:
            click.echo(json_line({"cameras": names}))
        return EXIT_DONE
    if settings.token is None:
        settings = replace(settings, token=os.environ.get("QUIETFRAME_TOKEN"))
    states = chain(["READY=1"], repeat("WATCHDOG=1"))
    with suppress_native_output(), LogLines():
        cameras = Cameras(settings)

        def tick() -> None:
            if not cameras.is_hung:
                notify_service("STOPPING=1" if cameras.is_stopping else next(states))

        with stopped_by_signals(cameras.stop):
            cameras.run(tick)
    done = []
    for camera in cameras.cameras:
        result = camera.result
        failures = [*(result.failures if result else ()), *([camera.failure] if camera.failure else ())]
        for failure in failures:
            say(f"error: {camera.config.name}: {failure}")
        if result:
            say(f"{camera.config.name}: {sentence(result)}")
        output = {"output": str(result.output) if result.output else None} if result else {}
        figures = {**asdict(result), **output} if result else {}
        done.append({"name": camera.config.name, **figures, "failures": failures})
    if as_json:
        click.echo(json_line({"cameras": done}))
    code = EXIT_FAILED if any(camera["failures"] for camera in done) else EXIT_DONE
    if ends.has_come():
        ends.leave_threads(code)
    return code

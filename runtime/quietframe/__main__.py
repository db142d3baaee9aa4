"""The command line's start: `quietframe`, and `python -m quietframe`."""

import signal

# Until `main` handles it, Ctrl-C ends the process at once: a KeyboardInterrupt in an import would be a traceback.
if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from quietframe.cli import main

if __name__ == "__main__":
    main()

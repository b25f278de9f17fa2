"""`python -m lrp_onnx` and the command `lrp-onnx` begin here: Ctrl-C is one sentence while the rest
is still imported, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

__all__ = ["INTERRUPTED", "run"]

INTERRUPTED = "lrp-onnx: interrupted; nothing was written."
WRONG = 2


def run() -> int:
    """Import the command line, run it, and return the exit status."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if ours:  # an import that an exception cuts short may end in any other
            signal.signal(signal.SIGINT, lambda *_: _leave())
        from lrp_onnx.cli.main import main

        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main()
        if ours:  # all is written; what is left is the interpreter's own end
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return status
    except KeyboardInterrupt:
        _leave()
        raise


def _leave() -> None:
    """End at once: nothing is open yet, or all is closed."""
    with contextlib.suppress(OSError):  # stderr may be closed
        os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(WRONG)


if __name__ == "__main__":
    sys.exit(run())

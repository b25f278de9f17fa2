"""Peak memory of one model in a process of its own:
`python -m lrp_onnx.validate.peak_memory MODEL NPZ THREADS`.

The process's peak never falls, so every model needs a new one.  What the interpreter and the
libraries need before the model is opened does not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lrp_onnx.errors import LrpError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.session import Runtime
from lrp_onnx.graph.temporary import temporary_folder

__all__ = ["peak_memory"]


def peak_memory(
    form: str | bytes, feeds: Mapping[str, Array], threads: int | None = None
) -> int | None:
    """Bytes of memory that opening and running the model once needs; None where it is not known."""
    if sys.platform == "win32" or any(a.dtype == object for a in feeds.values()):
        return None
    with temporary_folder() as folder:
        arrays = folder / "feeds.npz"
        np.savez(arrays, allow_pickle=False, **feeds)
        model = folder / "model.onnx"
        if isinstance(form, bytes):
            model.write_bytes(form)
        name = str(model) if isinstance(form, bytes) else form
        return _in_child([name, str(arrays), str(threads or 0)])


def _in_child(arguments: list[str]) -> int:
    # the child finds the package where this process does, installed or not
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    command = [sys.executable, "-m", "lrp_onnx.validate.peak_memory", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise LrpError(f"the process that measures memory failed: {reason}.")
    return int(done.stdout)


def _measure(model: str, feeds: str, threads: str) -> int:
    with np.load(feeds) as arrays:
        inputs = dict(arrays)
    before = _memory("VmRSS")
    Runtime(model, threads=int(threads)).run(inputs)
    return _memory("VmHWM") - before


def _memory(linux: str) -> int:
    """Bytes in use (VmRSS) or at the peak (VmHWM); elsewhere than on Linux the peak so far.

    Linux's getrusage does not do: there a new process starts from its parent's peak.
    """
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(fields[linux].split()[0])
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))

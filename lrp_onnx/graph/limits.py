"""Limits of time and memory for what a model decides: how long its shapes take to infer, how much a
run needs.

Libraries cannot be stopped while they compute.  What may take long is computed in a process of its
own, which is ended when it is over its limit; it stays for the next such step, and ends with this
process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import IO, Any, ParamSpec, TypeVar

import onnx_ir as ir

from lrp_onnx.errors import ModelError
from lrp_onnx.graph.annotations import budgets
from lrp_onnx.graph.subgraphs import graphs_of

__all__ = [
    "Breakdown",
    "Budget",
    "OverBudget",
    "budget_of",
    "end_all",
    "limit_of_run",
    "limited",
    "serve",
    "set_budget",
    "set_short",
]

P = ParamSpec("P")
Result = TypeVar("Result")

SECONDS, BYTES, NODES = 20.0, 4 * 10**9, 200_000
"""What any model is granted in one step, times the option budget."""
NODES_A_SECOND, BYTES_A_SECOND, BYTES_OF_WEIGHT = 200, 20_000_000, 16
"""And beyond that by its size: a second for so many nodes or bytes, so many bytes for each of its
weights' bytes."""


class OverBudget(ModelError):
    """What the model decides takes more time or memory than its budget."""


class Breakdown(OverBudget):
    """What the model decides ends the process of the library that computes it."""


@dataclass(frozen=True)
class Budget:
    """Seconds and bytes that one step may take."""

    seconds: float
    nbytes: int
    nodes: int
    """As many may be written out of functions."""

    @classmethod
    def of(cls, model: ir.Model, factor: float) -> Budget:
        """That of a model of this size."""
        graphs = graphs_of(model.graph)
        nodes = sum(map(len, graphs))
        weights = (v.const_value for graph in graphs for v in graph.initializers.values())
        size = sum(t.nbytes for t in weights if t is not None)
        seconds = SECONDS + nodes / NODES_A_SECOND + size / BYTES_A_SECOND
        nbytes = BYTES + BYTES_OF_WEIGHT * size
        return cls(factor * seconds, int(factor * nbytes), int(factor * (NODES + 10 * nodes)))

    def over(self, step: str) -> OverBudget:
        """The error for a step that takes more than that."""
        return OverBudget(
            f"{step} takes more than the model's budget ({self.seconds:.0f} s, "
            f"{self.nbytes / 1e9:.1f} GB, {self.nodes} nodes out of functions). If the model is "
            "meant so, give a larger --budget."
        )


def set_budget(model: ir.Model, factor: float) -> None:
    """Note a model's budget on it, before anything untrusted is computed."""
    budgets(model)["budget"] = Budget.of(model, factor)


def budget_of(model: ir.Model) -> Budget:
    """The budget that was noted on a model, or that of its size."""
    held: Budget | None = budgets(model).get("budget")
    return Budget.of(model, 1.0) if held is None else held


def set_short(model: ir.Model, short: bool) -> None:
    """Note whether a run of the model is known to be short."""
    budgets(model)["short"] = short


def limit_of_run(model: ir.Model) -> Budget | None:
    """The budget of a run of the model; None where the run is known to be short."""
    return None if budgets(model).get("short") else budget_of(model)


def limited(
    budget: Budget, step: str, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs
) -> Result:
    """The result of a function of a module, computed in another process.

    step: what is computed, for the message.  Memory is limited where the system can (Linux).
    Raises what the function raises; OverBudget where it takes more than the budget, Breakdown where
    the process breaks down.
    """
    helper = _idle()
    try:
        answer = helper.ask((function, args, kwargs), budget)
    except BaseException:
        helper.end()
        raise
    if answer is None:
        raise _broken(step, helper) or budget.over(step)
    IDLE.append(helper)
    done, value = answer
    if done:
        return value  # type: ignore[no-any-return]  # what came out of a pickle
    if isinstance(value, MemoryError):
        raise budget.over(step) from value
    raise value


def _broken(step: str, helper: _Helper) -> Breakdown | None:
    """The error where a library broke its process down by itself, which is ended in any case."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        helper.process.wait(1)
    status = helper.process.returncode
    helper.end()
    if status is None or -status not in BREAKDOWNS:
        return None
    name = signal.Signals(-status).name
    return Breakdown(
        f"{step} ends the process that computes it ({name}): what is in the model breaks a library "
        "down. Export it again."
    )


BREAKDOWNS = (
    *(signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGABRT),
    getattr(signal, "SIGBUS", None),
)
"""How a process ends that reads outside of its memory, divides by 0 or finds itself in error."""


class _Helper:
    """A process that computes one thing after the other."""

    def __init__(self) -> None:
        self.parent = os.getpid()
        begin = (
            f"import sys; sys.path[:] = {sys.path!r}; from lrp_onnx.graph.limits import serve; "
            "serve()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", begin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for whoever asks
        )
        if self.ask((_nothing, (), {}), Budget(START, 2**40, 0)) is None:
            self.end()
            raise ModelError(
                "no other Python process can be started, which is needed to check a model whose "
                f"run or shapes may have no end. See that {sys.executable!r} runs, or give "
                "--no-check."
            )

    def ask(self, call: Any, budget: Budget) -> tuple[bool, Any] | None:
        """Whether it was computed, and the result or the exception; None where it was not to be
        had within the budget.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        timer = Timer(budget.seconds, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            _send(self.process.stdin, (call, budget, _folder()))
            return _receive(self.process.stdout)  # type: ignore[no-any-return]
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            return None
        finally:
            timer.cancel()

    def end(self) -> None:
        """Stop it."""
        if self.parent != os.getpid():  # a fork: the process is the parent's
            return
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        self.process.wait()


START = 60.0
"""Seconds that a process may take to start."""
IDLE: list[_Helper] = []
"""Processes that wait for work."""


def _nothing() -> None:
    """What a process is asked first."""


def _idle() -> _Helper:
    while IDLE:
        helper = IDLE.pop()
        if helper.parent == os.getpid() and helper.process.poll() is None:
            return helper
        helper.end()
    return _Helper()


@atexit.register
def end_all() -> None:
    """Stop the processes that wait for work."""
    while IDLE:
        IDLE.pop().end()


def _folder() -> str | None:
    """Where this process is; None where that folder was removed."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def _send(pipe: IO[bytes], message: Any) -> None:
    content = pickle.dumps(message)
    pipe.write(struct.pack("<Q", len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    header = pipe.read(8)
    if len(header) < 8:
        raise EOFError
    (length,) = struct.unpack("<Q", header)
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return pickle.loads(content)


def serve() -> None:
    """Compute what is asked for until nobody asks: the other process's program."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    while True:
        try:
            (function, args, kwargs), budget, folder = _receive(sys.stdin.buffer)
        except EOFError:
            return
        _limit_memory(budget.nbytes)
        _limit_time(budget.seconds)
        try:
            if folder is not None:  # paths may be relative to it
                os.chdir(folder)
            answer = True, function(*args, **kwargs)
        except Exception as e:
            answer = False, e.with_traceback(None)
        _limit_memory(None)
        _limit_time(0.0)
        try:
            _send(answers, answer)
        except Exception as e:  # an error that cannot be sent is told in words
            _send(answers, (False, RuntimeError(f"{type(e).__name__}: {e}")))


def _limit_time(seconds: float) -> None:
    """End this process after so long, if the one that asked was killed and cannot do it; 0 takes
    the limit away.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds and seconds + GRACE)


GRACE = 2.0
"""Seconds after which a process ends by itself that was not ended."""


def _limit_memory(nbytes: int | None) -> None:
    """Let this process have so many bytes more than it has; None takes the limit away."""
    if sys.platform != "linux":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft = hard if nbytes is None else pages * resource.getpagesize() + nbytes
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

"""Faults at every step of what a program writes: one run of it tries them all.

The program runs in a process of its own.  At each step that changes something below the folder that
is looked at, that process is copied for each fault, and the copy goes on with the fault in a copy
of the folder.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lrp_onnx.graph import temporary

FAULTS = {"disk full": errno.ENOSPC, "no permission": errno.EACCES, "kill -9": None}
STEPS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}
SECONDS = 60
GROWING = ".jsonl"
"""A record of what is done: lines are added to it, and one that was cut off is not read."""
Files = dict[str, bytes]


def files_of(folder: Path) -> Files:
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: _without_times(content) for name, content in files.items()}


def _without_times(content: bytes) -> bytes:
    """A batch's manifest says when it ran and what came of it; ValueError for half of one."""
    if not content.startswith(b'{\n  "version"'):
        return content
    manifest = json.loads(content)
    for key in ("runs", "written", "failed"):
        manifest.pop(key, None)
    return json.dumps(manifest).encode()


def faults_of(
    program: Callable[[], int],
    folder: Path,
    older: Files,
    new: Files,
    readable: Callable[[], bool] = lambda: True,
) -> list[str]:
    """What is wrong after a fault, a line each; nothing where all is well. The last line counts.

    older, new: what the folder holds before the program and after it; readable: whether its files
    fit together.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        line = _Line(program, folder, older, new, readable)
        text = "\n".join([*line.run(), f"{line.steps} steps, {line.tried} faults"])
        with os.fdopen(write, "w") as answer:
            answer.write(text)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        lines = answer.read().splitlines()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return lines


class _Line:
    """The run that nothing befalls, and at each of its steps those that something does."""

    def __init__(
        self,
        program: Callable[[], int],
        folder: Path,
        older: Files,
        new: Files,
        readable: Callable[[], bool],
    ) -> None:
        self.program, self.folder, self.older, self.new = program, folder, older, new
        self.readable = readable
        self.steps = self.tried = 0
        self.wrong: list[str] = []
        self.words = io.StringIO()
        self.on_trial = False
        self.busy = False

    def run(self) -> list[str]:
        sys.addaudithook(self._step)
        status = self._status()
        if self.on_trial:
            os._exit(status)
        self.busy = True
        if status or files_of(self.folder) != self.new:
            words = self.words.getvalue()
            self.wrong.append(f"without a fault: status {status}, or other files: {words}")
        return self.wrong

    def _status(self) -> int:
        sys.stdout = sys.stderr = self.words
        try:
            return self.program()
        except BaseException:
            traceback.print_exc()
            return 99
        finally:
            sys.stderr.flush()

    def _step(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.busy or self.on_trial or event not in STEPS or not self._writes(event, arguments):
            return
        self.busy = True
        self.steps += 1
        path = Path(arguments[1] if event == "os.rename" else arguments[0])
        step = f"{event} {path.relative_to(self.folder)}"
        for name, fault in self._faults(event, arguments):
            self.tried += 1
            self._try(f"{name} at {step}", fault)
            if self.on_trial:
                return
        self.busy = False

    def _writes(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return False
        return str(arguments[0]).startswith(str(self.folder))

    def _faults(
        self, event: str, arguments: tuple[Any, ...]
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        for name, number in FAULTS.items():
            yield name, lambda number=number: _raised(number, str(arguments[0]))
        if event == "os.mkdir" and temporary.PREFIX in str(arguments[0]):
            largest = max(map(len, self.new.values()))
            for size in (0, largest // 2):
                for way in (signal.SIG_IGN, signal.SIG_DFL):
                    name = "no room" if way == signal.SIG_IGN else "kill -9 when written"
                    yield f"{name} behind {size} bytes", lambda s=size, w=way: _room(s, w)

    def _try(self, step: str, fault: Callable[[], None]) -> None:
        """The copy leaves this function with the fault; the line stays to see what comes of it."""
        aside = self.folder.with_name(f"{self.folder.name} aside")
        self.folder.rename(aside)  # what is open is open there
        shutil.copytree(aside, self.folder, symlinks=True)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            self.on_trial = True
            os.close(read)
            sys.stdout = sys.stderr = os.fdopen(write, "w", buffering=1)
            os.chdir(self.folder)
            signal.alarm(SECONDS)
            return fault()
        os.close(write)
        with os.fdopen(read, errors="replace") as told:
            words = told.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self.wrong += [f"{step}: {fact}" for fact in self._facts(status, words, "kill" in step)]
        shutil.rmtree(self.folder)
        aside.rename(self.folder)

    def _facts(self, status: int, told: str, killed: bool) -> Iterator[str]:
        words = re.sub("^warning: .*\n", "", told, flags=re.MULTILINE)
        self._clean(self.folder)
        now = files_of(self.folder)
        for name in {*self.older, *now}:
            held = now.get(name)
            begun = held is not None and name.endswith(GROWING) and self.new[name].startswith(held)
            if held not in (self.older.get(name), self.new.get(name)) and not begun:
                yield f"{name} is neither the older nor the new one"
        if not self.readable():
            yield "what is there cannot be read together"
        if killed and status < 0:
            return
        if status == 0:
            if now != self.new:
                yield "status 0, and not all was written"
        elif status not in (1, 2):
            yield f"status {status}: {words[-500:]}"
        elif not (words.startswith("lrp-onnx: ") and words.endswith(".\n")):
            yield f"not a paragraph: {words[-500:]}"
        elif words.count("\n") > 1 or "bug of" in words or len(words) > 611:
            yield f"not a refusal: {words[-900:]}"

    def _clean(self, folder: Path) -> None:
        """What the next run does in each folder that it writes to."""
        temporary.NEW = -1.0
        places = {left.parent for left in folder.rglob(f"{temporary.PREFIX}*") if left.is_dir()}
        for place in (p for p in places if temporary.PREFIX not in str(p)):
            temporary.SEEN.discard(str(place))
            with temporary.temporary_folder(place):
                pass  # whoever opens one there takes away what killed processes left


def _raised(number: int | None, name: str) -> None:
    if number is None:
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        raise OSError(number, os.strerror(number), name)


def _room(size: int, way: signal.Handlers) -> None:
    signal.signal(signal.SIGXFSZ, way)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

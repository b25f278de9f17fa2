"""Folders for files that are being made: gone when the block ends, and, where the process was
killed in it, when the next one works at the same place.

Whoever has made a folder holds a lock in it, which the system takes away with the process.  So what
nobody holds is a dead one's; processes of other machines, whose numbers say nothing here, are
respected as far as the file system carries locks.  Windows has no such locks: nothing is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["PREFIX", "temporary_folder"]

PREFIX = ".lrp-onnx-"
"""How the names of these folders begin."""
LOCK = ".held"
NEW = 10.0
"""Seconds in which a folder may be made whose lock is not taken yet."""
SEEN = set[str]()
"""Where this process has looked for what dead ones left."""


@contextlib.contextmanager
def temporary_folder(beside: Path | None = None) -> Iterator[Path]:
    """A new folder, removed at the end.

    beside: the folder that it is made in [that of the system for temporary files].
    Raises OSError where it cannot be made.
    """
    place = Path(tempfile.gettempdir()) if beside is None else beside
    _remove_left_behind(place)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    lock: IO[bytes] | None = None
    try:
        lock = _hold(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            lock.close()


def _hold(folder: Path) -> IO[bytes] | None:
    if fcntl is None:
        return None
    lock = open(folder / LOCK, "wb")  # noqa: SIM115  # held until the block ends
    with contextlib.suppress(OSError):  # a file system without locks: then others find it held too
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _remove_left_behind(place: Path) -> None:
    if str(place) in SEEN or fcntl is None:
        return
    SEEN.add(str(place))
    with contextlib.suppress(OSError):  # not listed: then it is the next one's to find
        for folder in place.glob(f"{PREFIX}*"):
            if _is_left_behind(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left_behind(folder: Path) -> bool:
    """Whether it is a folder of this user's whose process is gone."""
    try:
        about = folder.stat(follow_symlinks=False)
        if about.st_uid != os.getuid() or time.time() < about.st_mtime + NEW:
            return False
        with open(folder / LOCK, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

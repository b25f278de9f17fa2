"""Writing files so that a failed run leaves nothing behind and harms no older output.

Everything is written into a fresh folder beside the target, under the target's own name, and
renamed at the end. Own names, because a model refers to its external data by name: the pair is
already consistent before it is moved.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrp_onnx.errors import OutputError
from lrp_onnx.graph.temporary import PREFIX, temporary_folder

__all__ = ["atomic", "atomic_group"]

# What a full or read-only disk says even where the failing call knows no file name.
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO}


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` when the block ends without an error.

    Raises OutputError where `path` cannot be written.
    """
    with atomic_group(path) as (temporary,):
        yield temporary


@contextmanager
def atomic_group(*paths: str | os.PathLike[str]) -> Iterator[tuple[Path, ...]]:
    """The same for files that belong together, as a model and its external data; all in one folder.

    They are renamed in the order given, so the file that refers to the others comes last. A path
    the block did not write is left as it is. An error or Ctrl-C before the end changes nothing.
    """
    targets = [_checked(path) for path in reversed(paths)][::-1]  # errors name the last first
    if len({target.parent for target in targets}) != 1:
        raise ValueError(f"files written together must share a folder: {targets}")
    place = targets[0].parent
    try:
        with temporary_folder(place) as folder:
            yield tuple(folder / target.name for target in targets)
            for target in targets:
                if (folder / target.name).exists():
                    os.replace(folder / target.name, target)
    except OSError as error:
        if error.errno in DISK_ERRORS or _is_ours(error.filename, place):
            named = (target for target in targets if Path(str(error.filename)).name == target.name)
            raise _unwritable(next(named, targets[-1]), error) from error
        raise


def _is_ours(name: object, place: Path) -> bool:
    """Whether a file that an error names lies in a temporary folder there."""
    return str(name).startswith(str(place / PREFIX))


def _checked(path: str | os.PathLike[str]) -> Path:
    """The real path behind `path`; a link is followed, so that it stays a link."""
    target = Path(path)
    try:
        target = Path(os.path.realpath(path))
        _check(path, target)
    except (OSError, ValueError) as error:  # no name of a file, a folder one may not enter
        raise _unwritable(target, error) from error
    return target


def _check(path: str | os.PathLike[str], target: Path) -> None:
    if target.is_dir():
        raise OutputError(f"output '{path}': it is a folder. Name a file in it.")
    if target.exists() and not target.is_file():  # renaming over /dev/null would destroy it
        raise OutputError(f"output '{path}': it is a device or a pipe. Name an ordinary file.")
    if target.exists() and not os.access(target, os.W_OK):
        raise OutputError(f"output '{path}': the file is write-protected. Name another file.")
    if not target.parent.is_dir():
        fact = f"the folder '{target.parent}' does not exist"
        raise OutputError(f"output '{path}': {fact}. Create it or name another file.")


def _unwritable(target: Path, error: OSError | ValueError) -> OutputError:
    fact = getattr(error, "strerror", None) or str(error)
    return OutputError(
        f"output '{target}': cannot be written ({fact}). "
        "Choose a folder with room in which you may write, and a usual file name."
    )

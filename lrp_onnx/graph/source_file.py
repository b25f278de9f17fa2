"""Files that a user names, read: none without an end, no text that fills the memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["LARGEST_TEXT", "ordinary", "text_of"]

LARGEST_TEXT = 2**27
"""Bytes of a text; rules, labels and configurations have thousands."""
HANDED_OVER = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""How pipes are named that a shell fills: `--labels <(cut -f 2 table)`."""


def ordinary(path: str | os.PathLike[str]) -> Path:
    """The path, which is read next.

    Raises OSError where a device, a pipe or a socket is there, since reading it may have no end,
    and for what cannot be the name of a file.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except ValueError as error:
        raise OSError(errno.EINVAL, "no file can have that name", str(path)) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "a device or a pipe, and no file", str(path))
    return path


def text_of(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file, without a byte order mark; a shell's pipe may be one.

    Raises OSError, whose strerror says what is the matter, for whatever is none.
    """
    path = Path(path) if str(path).startswith(HANDED_OVER) else ordinary(path)
    with path.open("rb") as file:
        content = file.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        fact = f"more than {LARGEST_TEXT >> 20} MB, which no such text has"
        raise OSError(errno.EINVAL, fact, str(path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, "not UTF-8 text", str(path)) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")

"""Names of classes from a file: one a line, or JSON (a list, or an object from index to name)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrp_onnx.errors import InputError

__all__ = ["class_name", "load_labels"]


def load_labels(path: str | os.PathLike[str]) -> dict[int, str]:
    """Class index to name. A name given as a list, as ["n02123045", "tabby"], is its last entry.

    Raises InputError where the file cannot be read or holds no names.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        fact = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(
            f"labels '{path}': {fact}. Give one class name a line, or JSON."
        ) from error
    names = _from_json(text, path) if text.lstrip()[:1] in ("[", "{") else _from_lines(text)
    if not names:
        raise InputError(f"labels '{path}': holds no names. Give one class name a line, or JSON.")
    return names


def class_name(labels: Mapping[int, str] | None, index: int) -> str:
    """The name with its number, `tabby (281)`; the number alone where there is no name."""
    name = (labels or {}).get(index)
    return f"{name} ({index})" if name else f"class {index}"


def _from_lines(text: str) -> dict[int, str]:
    # an empty line inside is a class without a name, so that the others keep their numbers
    return {index: line.strip() for index, line in enumerate(text.rstrip().splitlines())}


def _from_json(text: str, path: str | os.PathLike[str]) -> dict[int, str]:
    try:
        table = json.loads(text)
        pairs = table.items() if isinstance(table, dict) else enumerate(table)
        return {int(index): _name(value) for index, value in pairs}
    except (ValueError, TypeError, IndexError) as error:
        remedy = 'Write ["name", ...] or {"0": "name", ...}'
        raise InputError(f"labels '{path}': not such JSON ({error}). {remedy}.") from error


def _name(value: Any) -> str:
    name = value[-1] if isinstance(value, list) else value
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is no name")
    return name

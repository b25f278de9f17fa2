"""Names of classes from a file: one a line, or JSON (a list, or an object from index to name); and
the class that a name stands for.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrp_onnx.errors import InputError, TargetError

__all__ = ["class_name", "class_named", "classes_named", "labels_of", "load_labels"]

MOST_NEAR = 5
NEAR = 0.6
"""How alike names are that are listed in place of an unknown one, from 0 to 1."""


def labels_of(source: object) -> dict[int, str]:
    """Class index to name, of a file, a list or a dictionary. Raises InputError for others."""
    if isinstance(source, str | os.PathLike):
        return load_labels(source)
    if isinstance(source, Mapping):
        return {int(index): str(name) for index, name in source.items()}
    if isinstance(source, Sequence):
        return dict(enumerate(map(str, source)))
    raise InputError(
        f"labels {source!r}: no names. Give a file, a list of names, or a dictionary from index to "
        "name."
    )


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


def classes_named(labels: Mapping[int, str], name: str) -> list[int]:
    """The classes of that name; where no label is the whole name, those that have it as one of
    several names with commas between, such as `tench, Tinca tinca`.
    """
    wanted = _plain(name)
    whole = [k for k, label in labels.items() if _plain(label) == wanted]
    parts = ((k, part) for k, label in labels.items() for part in label.split(","))
    return whole or list(dict.fromkeys(k for k, part in parts if _plain(part) == wanted))


def class_named(labels: Mapping[int, str], name: str) -> int:
    """The only class of that name. Raises TargetError with names that are near."""
    alike = classes_named(labels, name)
    if len(alike) == 1:
        return alike[0]
    if alike:
        listing = ", ".join(f"{k} ({labels[k]})" for k in alike)
        raise TargetError(
            f"target {name!r}: {len(alike)} classes have that name, {listing}. Give the number of "
            "one."
        )
    near = _near(labels, name)
    listing = ", ".join(f"{labels[k]!r} ({k})" for k in near)
    example = next(iter(labels))
    remedy = f"Near it are {listing}" if near else f"Names are such as {labels[example]!r}"
    raise TargetError(
        f"target {name!r}: none of the {len(labels)} classes has that name. {remedy}; a class may "
        f"also be given by its number, such as {near[0] if near else example}."
    )


def _near(labels: Mapping[int, str], name: str) -> list[int]:
    """The classes whose name holds the text, or a part of whose name is much like it."""
    wanted, forms = _plain(name), dict[str, list[int]]()
    for k, label in labels.items():
        for form in {_plain(part) for part in (label, *label.split(","))}:
            forms.setdefault(form, []).append(k)
    holding = [form for form in forms if len(wanted) > 2 and wanted in form]
    alike = difflib.get_close_matches(wanted, forms, MOST_NEAR, NEAR)
    return list(dict.fromkeys(k for form in (*alike, *holding) for k in forms[form]))[:MOST_NEAR]


def _plain(name: str) -> str:
    """Without the differences that do not count: case, underscores, blanks."""
    return " ".join(name.replace("_", " ").casefold().split())


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

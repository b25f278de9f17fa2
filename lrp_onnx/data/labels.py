"""Names of classes from a file, and the class that a name stands for."""

from __future__ import annotations

import ast
import csv
import difflib
import json
import os
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from lrp_onnx.arguments import shown
from lrp_onnx.data.label_forms import names_in, names_of_csv, names_of_lines
from lrp_onnx.errors import InputError, TargetError
from lrp_onnx.graph.source_file import text_of

__all__ = [
    "check_labels",
    "class_name",
    "class_named",
    "classes_named",
    "labels_in_metadata",
    "labels_of",
    "load_labels",
]

FORMS = "one class name a line, .csv, .json or .yaml"
BACKGROUND = {"background", "none", "__background__", "dummy", "unlabeled", "n/a"}

MOST_NEAR = 5
NEAR = 0.6
"""How alike names are that are listed in place of an unknown one, from 0 to 1."""


def labels_of(source: object) -> dict[int, str]:
    """Class index to name, of a file, a list or a dictionary. Raises InputError for others."""
    if isinstance(source, str | os.PathLike):
        return load_labels(source)
    names = dict(enumerate(source)) if isinstance(source, list | tuple) else source
    if isinstance(names, Mapping) and all(isinstance(index, Integral) for index in names):
        values = names.values()
        if all(isinstance(name, str | Integral) for name in values):
            return {int(index): str(name) for index, name in names.items()}
    raise InputError(
        f"labels {shown(source)}: no names. Give a file, a list of names, or a dictionary from "
        "index to name."
    )


def load_labels(path: str | os.PathLike[str]) -> dict[int, str]:
    """Class index to name, by the ending of the file's name; see `label_forms`.

    Raises InputError where the file cannot be read or holds no names.
    """
    try:
        text = text_of(path)
    except OSError as error:
        raise InputError(f"labels '{path}': {error.strerror}. Give {FORMS}.") from error
    names = _names(text, Path(path))
    if not any(names.values()):
        raise InputError(f"labels '{path}': holds no names. Give {FORMS}.")
    return names


def labels_in_metadata(metadata: Mapping[str, str]) -> dict[int, str] | None:
    """The names that a model's metadata hold, as those of Ultralytics do under `names`, or Hugging
    Face's under `id2label`; None where there are none.
    """
    for key in ("names", "id2label"):
        try:
            names = names_in(ast.literal_eval(metadata.get(key, "")))
        except (ValueError, TypeError, SyntaxError):
            continue  # of another meaning
        if names:
            return names
    return None


def check_labels(labels: Mapping[int, str], classes: int, output: str) -> None:
    """Raise InputError where there are more or fewer names than classes, with what may be the
    reason.
    """
    count = max(len(labels), max(labels, default=-1) + 1)
    if count == classes:
        return
    first = labels.get(0, "")
    remedy = "Give the names that the model was trained with, one for each class"
    if count == classes + 1 and min(labels) == 1:
        raise InputError(
            f"labels: numbers from 1 to {classes} for {classes} classes of output {output!r}, "
            "which are counted from 0. Take 1 off each, or every name is off by one."
        )
    if count == classes + 1:
        alike = _plain(first) in BACKGROUND
        remedy = (
            f"The first name, {first!r}, is {'' if alike else 'perhaps '}that of a background "
            "class which this model does not have: then delete it, or every name is off by one"
        )
    elif count + 1 == classes:
        remedy = (
            "Many models of one class more have a background class in front: then put a name such "
            "as 'background' first, or every name is off by one"
        )
    names = f"{count} name{'s' * (count != 1)}"
    raise InputError(
        f"labels: {names} for {classes} class{'es' * (classes != 1)} of output {output!r}. "
        f"{remedy}."
    )


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


def _names(text: str, path: Path) -> dict[int, str]:
    ending = path.suffix.lower()
    try:
        if ending in (".yaml", ".yml"):
            return names_in(_yaml(text, path))
        if text.lstrip()[:1] in ("[", "{"):
            return names_in(_json(text))
        return names_of_csv(text) if ending in (".csv", ".tsv") else names_of_lines(text)
    except (ValueError, TypeError, IndexError, OverflowError, RecursionError, csv.Error) as error:
        fact = " ".join(str(error).split())
        remedy = 'Write ["name", ...] or {"0": "name", ...}'
        raise InputError(
            f"labels '{path}': no names can be read from it ({fact}). {remedy}."
        ) from error


def _json(text: str) -> Any:
    """What JSON holds, or a list or dictionary as Python prints it. Raises ValueError."""
    try:
        return json.loads(text)
    except ValueError as error:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError):
            raise error from None  # what is wrong with it as JSON


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise InputError(
            f"labels '{path}': YAML is read with PyYAML. Install it: pip install pyyaml."
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error

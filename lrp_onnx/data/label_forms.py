"""The forms in which class names come: a name a line, a CSV, and what JSON and YAML files hold.

["cat", "dog"]                            a list
{"0": "cat", "1": "dog"}                  by number, also with a list whose last entry is it
{"cat": 0, "dog": 1}                      the other way round
{"id2label": {…}}, {"names": …}           one of these in a configuration
[{"id": 0, "name": "cat"}, …]             a record for each class
{0: 'cat', 1: 'dog'}                      one of these as Python prints it
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lrp_onnx.arguments import shown

__all__ = ["names_in", "names_of_csv", "names_of_lines"]

KEYS = ("id2label", "label2id", "names", "labels", "classes", "categories", "class_names")
"""Under which configurations keep the names."""
NUMBER = ("id", "index", "class", "class_id", "idx", "number")
NAME = ("name", "label", "display_name", "class_name", "title")


NUMBERED = re.compile(r"(\d+)(?:\s*[:,;\t]\s*|\s+)(\S.*)")
SYNSET = re.compile(r"n\d{8}\s+(\S.*)")
"""Lines of a number and a name, and of WordNet's identifier and a name."""


def names_of_lines(text: str) -> dict[int, str]:
    """One name a line; where numbers that count on, or WordNet's identifiers, stand before all of
    them, the name behind.
    """
    # an empty line inside is a class without a name, so that the others keep their numbers
    lines = [line.strip() for line in text.rstrip().splitlines()]
    numbered = [match for line in lines if (match := NUMBERED.fullmatch(line))]
    first = int(numbered[0][1]) if numbered else 0
    if len(numbered) == len(lines) > 1 and first < 2:
        numbers = [int(match[1]) for match in numbered]
        if numbers == [*range(first, first + len(lines))]:
            return {int(match[1]): match[2] for match in numbered}
    synsets = [match for line in lines if (match := SYNSET.fullmatch(line))]
    return dict(enumerate([m[1] for m in synsets] if len(synsets) == len(lines) else lines))


def names_of_csv(text: str) -> dict[int, str]:
    """One name a row, behind its number if there is one; a header may tell which column is what.

    Raises ValueError where a number is none.
    """
    dialect = csv.Sniffer().sniff(text, ",;\t") if any(c in text for c in ",;\t") else csv.excel
    rows = [row for row in csv.reader(io.StringIO(text), dialect) if any(row)]
    if not rows:
        return {}
    head = [cell.strip().casefold() for cell in rows[0]]
    name = next((k for k, cell in enumerate(head) if cell in NAME), None)
    number = next((k for k, cell in enumerate(head) if cell in NUMBER and k != name), None)
    if name is not None or number is not None:
        rows = rows[1:]
    elif len(head) > 1 and all(row[0].strip().isdigit() for row in rows):
        number = 0
    if name is None:
        name = next(k for k in range(len(head)) if k != number or len(head) == 1)
    numbers = range(len(rows)) if number is None else [int(row[number]) for row in rows]
    return {k: row[name].strip() for k, row in zip(numbers, rows, strict=True)}


def names_in(table: Any) -> dict[int, str]:
    """The names in what a JSON or YAML file holds.

    Raises ValueError or TypeError for another form.
    """
    if isinstance(table, Mapping):
        for key in KEYS:
            if isinstance(table.get(key), list | Mapping):
                return names_in(table[key])
        if table and all(isinstance(v, int) for v in table.values()):
            return {int(number): str(name) for name, number in table.items()}
        return _numbered(table.items())
    if not isinstance(table, list):
        raise TypeError(f"{shown(table)} holds no names")
    if table and all(isinstance(entry, Mapping) for entry in table):
        return _numbered(_record(entry, k) for k, entry in enumerate(table))
    return _numbered(enumerate(table))


def _record(entry: Mapping[str, Any], index: int) -> tuple[Any, Any]:
    number = next((entry[key] for key in NUMBER if key in entry), index)
    return number, next((entry[key] for key in NAME if key in entry), entry)


def _numbered(pairs: Iterable[tuple[Any, Any]]) -> dict[int, str]:
    return {int(index): _name(value) for index, value in pairs}


def _name(value: Any) -> str:
    name = value[-1] if isinstance(value, list) and value else value
    if not isinstance(name, str):
        raise TypeError(f"{shown(name)} is no name")
    return name

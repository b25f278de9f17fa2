"""TOML as people write it: what no table of settings holds is refused with a reason."""

from __future__ import annotations

import sys
import tomllib
from typing import Any

__all__ = ["table_of"]


def table_of(text: str) -> dict[str, Any]:
    """The table that a text holds.

    Raises ValueError where it is no TOML, nests too deep, or has a whole number that is larger than
    any float: such a one could not even be printed.
    """
    try:
        table = tomllib.loads(text)
        _check_numbers(table)
    except RecursionError as e:
        raise ValueError("it nests tables or lists too deep, write it flat") from e
    return table


def _check_numbers(value: object) -> None:
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise ValueError("it has a number of hundreds of digits, write a smaller one")
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_numbers(part)

"""The folder of rules and composites, and TOML tables checked key by key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from lrp_onnx.errors import RuleError
from lrp_onnx.graph.source_file import text_of
from lrp_onnx.graph.toml import table_of

__all__ = ["check_keys", "choices_of", "library", "read_toml", "typed"]

REQUIRED = object()
NAME = re.compile(r"[\w.+-]{1,100}")


def library() -> Traversable:
    """The folder of rule files; its subfolder `composites` holds the composites."""
    try:
        return resources.files("lrp_onnx.rules")
    except ModuleNotFoundError:  # a bare checkout: rules/ lies beside the package
        return resources.files("lrp_onnx").joinpath("..", "rules")


def read_toml(name: str, folder: Traversable, kind: str) -> tuple[str, dict[str, Any]]:
    """Read the file `name` (a path) or `folder/name.toml`; return the place for messages and the
    table.
    """
    own = folder.joinpath(f"{name}.toml")
    if not name.endswith(".toml") and not (NAME.fullmatch(name) and own.is_file()):
        raise RuleError(f"there is no {kind} {name!r}. {choices_of(folder, kind)}")
    try:
        text = text_of(name) if name.endswith(".toml") else own.read_text(encoding="utf-8")
        return name, table_of(text)
    except OSError as e:
        raise RuleError(
            f"{kind} file {name!r} cannot be read: {e.strerror}. Check the path."
        ) from e
    except ValueError as e:
        raise RuleError(f"{kind} file {name!r} is not valid TOML: {e}.") from e


def choices_of(folder: Traversable, kind: str) -> str:
    """The names in a folder of rules or composites in words, but for what is only a base."""
    files = [f for f in folder.iterdir() if f.name.endswith(".toml")]
    tables = {f.name.removesuffix(".toml"): tomllib.loads(f.read_text("utf-8")) for f in files}
    known = sorted(name for name, table in tables.items() if not table.get("base_only"))
    known = ["auto", *known] if kind == "composite" else known
    return f"Known: {', '.join(known)}; or give the path of a {kind} file ending in .toml."


def typed(table: Mapping[str, Any], key: str, kind: type, default: Any = REQUIRED) -> Any:
    """`table[key]` if it has that type (an integer counts as float); RuleError names the key
    otherwise.
    """
    if key not in table:
        if default is REQUIRED:
            raise RuleError(f"key {key!r} is missing. Add it ({_TYPE_NAMES[kind]}).")
        return default
    value = table[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is str and not str(value).strip()):
        raise RuleError(f"key {key!r} is {value!r}. Give {_TYPE_NAMES[kind]}.")
    return value


_TYPE_NAMES = {
    str: "a string",
    list: "a list",
    dict: "a table",
    float: "a number",
    bool: "true or false",
}


def check_keys(table: Mapping[str, Any], known: set[str], what: str) -> None:
    """RuleError for the first key of `table` that `what` does not know."""
    for key in table:
        if key not in known:
            raise RuleError(
                f"{what} has an unknown key {key!r}. Known keys: {', '.join(sorted(known))}."
            )

"""What a compiled model's metadata may say: whoever reads it relies on that, and trusts no file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from lrp_onnx.errors import ModelError, plain

__all__ = ["check_stamp"]

REQUIRED = (
    "class_axis",
    "composite",
    "conditions",
    "method",
    "output",
    "start",
    "starts_at",
    "target",
)
"""What every compiled model says."""
OF_SEVERAL = ("explained", "prefix", "relevance")
"""What it says of each of several explained outputs."""


def check_stamp(stamp: Mapping[str, str]) -> None:
    """Raise ModelError for what the compiler does not write."""
    if "explained" in stamp:
        _require(stamp, REQUIRED)
    for key, fits in FORMS.items():
        if key in stamp and not fits(stamp[key]):
            raise ModelError(
                f"metadata 'lrp.{key}' of the model is {plain(stamp[key])!r:.99}, which lrp-onnx "
                "does not write. Compile the original model again."
            )
    shared = {key: value for key, value in stamp.items() if key != "outputs"}
    for own in json.loads(stamp.get("outputs", "[]")):
        _require(one := {**shared, **own}, OF_SEVERAL)
        check_stamp({key: value for key, value in one.items() if key != "outputs"})


def _require(stamp: Mapping[str, str], keys: tuple[str, ...]) -> None:
    if missing := [key for key in keys if key not in stamp]:
        raise ModelError(
            f"the model's metadata have no 'lrp.{missing[0]}', which every compiled model has. "
            "Compile the original model again."
        )


def _json(fits: Callable[[Any], bool]) -> Callable[[str], bool]:
    """Whether a text is JSON of that form."""

    def reads(text: str) -> bool:
        try:
            return fits(json.loads(text))
        except (ValueError, RecursionError):
            return False

    return reads


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _stamps(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and all(isinstance(text, str) for text in one.values())
        for one in value
    )


def _head(value: Any) -> bool:
    """Whether it is a `lrp_onnx.analysis.head.Head`."""
    if not isinstance(value, dict):
        return False
    ends = value.get("scores")
    numbers = (value.get("axis"), value.get("objectness"))
    return (
        isinstance(value.get("kind"), str)
        and isinstance(value.get("batch"), bool)
        and isinstance(value.get("beside", ""), str)
        and isinstance(value.get("label"), int | str | None)
        and all(isinstance(number, int | None) for number in numbers)
        and (ends is None or (isinstance(ends, list) and [type(n) for n in ends] == [int, int]))
    )


FORMS: dict[str, Callable[[str], bool]] = {
    "class_axis": lambda text: not text or text.removeprefix("-").isdecimal(),
    "conditions": _json(_names),
    "explained": _json(lambda value: _names(value) and bool(value)),
    "head": lambda text: not text or _json(_head)(text),
    "outputs": _json(_stamps),
    "relevance": _json(_names),
    "samples": str.isdecimal,
    "steps": str.isdecimal,
}

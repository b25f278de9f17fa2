"""Whether an argument is what its annotation says: Python does not ask, and a wrong one fails far
from where it was given.
"""

from __future__ import annotations

import functools
import inspect
import os
import reprlib
import typing
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.errors import InputError, OptionError

__all__ = ["as_array", "check_argument", "checked", "shown"]

P = ParamSpec("P")
T = TypeVar("T")

KINDS: Mapping[Any, tuple[type, ...]] = {int: (Integral,), float: (Real,), bool: (bool,)}
"""What is taken for a number, so that those of NumPy are."""


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which raises OptionError where an argument is not of its annotation's type."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs).arguments
        kinds = _kinds_of(function)
        for name, value in bound.items():
            if name in kinds:
                check_argument(name, value, kinds[name], str(function.__annotations__[name]))
        return function(*args, **kwargs)

    return wrapper


@functools.cache
def _kinds_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of its arguments that have one for all."""
    one = inspect.Parameter.VAR_KEYWORD
    several = {p.name for p in inspect.signature(function).parameters.values() if p.kind == one}
    return {n: k for n, k in typing.get_type_hints(function).items() if n not in several}


def check_argument(name: str, value: object, kind: Any, written: str) -> None:
    """Raise OptionError, which names the argument, where a value is not of a type.

    written: the type, as a user reads it.
    """
    if not _is_a(value, kind):
        raise OptionError(
            f"argument {name}={shown(value)}: a value of type {type(value).__name__} is not "
            f"taken. Give one of type {written}."
        )


def shown(value: object) -> str:
    """A value of any kind in a message: short, whatever its own `repr` does."""
    return reprlib.repr(value)


def as_array(value: object, what: str) -> NDArray[Any]:
    """What a user gives as an array: one, a number, or numbers in lists. what: how it is called.

    Raises InputError for what is none, such as rows of different lengths.
    """
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{what} is no array ({error}). Give numbers in rows of one length, or a NumPy array."
        ) from error


def _is_a(value: object, kind: Any) -> bool:
    """Whether a value is of a type, and what it holds of that type's own; arrays are looked at by
    those who take them.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in (Any, object) or origin is np.ndarray:
        return True
    if origin in (typing.Union, UnionType):
        return any(_is_a(value, one) for one in inner)
    if kind in (None, NoneType):
        return value is None
    if origin is None:
        return isinstance(value, KINDS.get(kind, (kind,))) and (
            kind is bool or not isinstance(value, bool)
        )
    return _holds(value, origin, inner)


def _holds(value: object, origin: Any, inner: tuple[Any, ...]) -> bool:
    """The same for a type with others in brackets."""
    if origin is os.PathLike:
        return isinstance(value, os.PathLike)
    if not isinstance(value, origin) or isinstance(value, str | bytes):
        return False
    if isinstance(value, Mapping):
        return all(_is_a(k, inner[0]) and _is_a(v, inner[-1]) for k, v in value.items())
    if isinstance(value, tuple) and origin is tuple and inner[-1] is not ...:
        return len(value) == len(inner) and all(map(_is_a, value, inner))
    if isinstance(value, Sequence):
        return all(_is_a(one, inner[0]) for one in value)
    return not isinstance(value, np.ndarray) or value.ndim > 0

"""The version of lrp-onnx that is running."""

from __future__ import annotations

from functools import cache
from importlib import metadata

__all__ = ["version"]


@cache
def version() -> str:
    """As installed; a bare checkout has no version of its own."""
    try:
        return metadata.version("lrp-onnx")
    except metadata.PackageNotFoundError:
        return "not installed"

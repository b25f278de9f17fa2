"""Operator cases of onnx that are wrong or crash today: none.

Each would be a strict expected failure: one that comes right fails the run until its name goes.
"""

__all__ = ["OPEN_CASES"]

OPEN_CASES: set[str] = set()

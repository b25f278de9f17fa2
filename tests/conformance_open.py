"""Operator cases of onnx that are wrong or crash today: none.

Each would be a strict expected failure: one that comes right fails the run until its name goes.
"""

__all__ = ["OPEN_CASES", "SHARE_IS_OPEN"]

SHARE_IS_OPEN = True
"""Whether fewer than 95 % of the differentiable cases are right; goes when the share is reached."""

OPEN_CASES: set[str] = set()

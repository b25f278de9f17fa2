"""Any opset from 7 to 28 becomes one that the compiler and every runtime knows: 18 to 21.

A compiled model is written at an older one, 13 to 17, where it is asked for.
"""

__all__ = ["CEILING", "FLOOR", "NEWEST", "OLDER", "OLDEST"]

OLDEST, FLOOR, CEILING, NEWEST = 7, 18, 21, 28
OLDER = range(13, FLOOR)
"""What a compiled model may be written at besides."""

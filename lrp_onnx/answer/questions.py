"""What a run needs to know and cannot: told all at once, not one thing a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lrp_onnx.compiler.stages import Loaded, load_original, prepare
from lrp_onnx.data.inputs import PreprocessAsked
from lrp_onnx.errors import InputError, LrpError, TargetError, UnsupportedError
from lrp_onnx.options import CompileOptions

__all__ = ["asked_at_once"]


@contextmanager
def asked_at_once(options: CompileOptions, loaded: Loaded) -> Iterator[None]:
    """Reading the inputs: where it asks how pictures are prepared, what else would stop the run, an
    output to choose or an operator without a rule, is said with it.
    """
    try:
        yield
    except PreprocessAsked as asked:
        raise _with_others(asked, options, loaded) from asked


def _with_others(asked: PreprocessAsked, options: CompileOptions, loaded: Loaded) -> LrpError:
    try:
        prepare(load_original(loaded.source), options)
    except (TargetError, UnsupportedError) as other:
        return InputError(f"{asked} Besides, {other}")
    except LrpError:  # the answer may mend it, as where a rule needs the range of the pixels
        return asked
    return asked

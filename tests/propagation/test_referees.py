"""Numbers that other systems have stored (../shared/referees): all of them, compiled and run.

The rows of `method = gradient` run under the composite `gradient` with `start="one"`, which is the
same plain gradient; `method="gradient"` itself is another switch of the compiler.
"""

import numpy as np
import pytest
import referees
from models import assert_close, run

import lrp_onnx

NAMES = list(referees.rows()) or [pytest.param("", marks=pytest.mark.skip(reason=referees.ABSENT))]


@pytest.mark.parametrize("name", NAMES)
def test_stored_numbers(name: str) -> None:
    case = referees.load(name)
    compiled = lrp_onnx.compile(
        case.model,
        composite=case.composite,
        parameters=case.parameters,
        target=case.target,
        start=case.start,
        relevance_at=case.relevance_at,
        check=False,
    )
    outputs = run(compiled.model, case.feeds)
    for tensor, expected in case.expected.items():
        found = outputs[f"{tensor}_relevance"]
        assert_close(found, expected, case.tolerance)
        with pytest.raises(AssertionError):
            assert_close(1.01 * found, expected, case.tolerance)


@pytest.mark.skipif(not referees.rows(), reason=referees.ABSENT)
def test_no_row_is_left_out() -> None:
    assert len(referees.rows()) == 92 + 12
    assert all(np.isfinite(row["tolerance"]) for row in referees.rows().values())

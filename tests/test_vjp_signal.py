"""The checks of test_vjp for the rows of `tables_signal`, and what is particular to them."""

from __future__ import annotations

import pytest
import reference_signal  # noqa: F401 (adds forwards)
from models import Case
from tables_signal import ROWS
from test_vjp import check_jacobian

UNKNOWN = [row.unknown() for row in ROWS if not row.symbolic and not row.sized]


@pytest.mark.parametrize("case", [*ROWS, *UNKNOWN], ids=str)
def test_vjp_is_the_jacobian(case: Case) -> None:
    check_jacobian(case)

"""Asserts inside the checking helpers report their values as those inside tests do."""

import pytest

pytest.register_assert_rewrite("models")


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/*.txt")

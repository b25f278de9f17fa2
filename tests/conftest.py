"""Asserts inside the checking helpers report their values as those inside tests do."""

import sys

import pytest

pytest.register_assert_rewrite("models")


def pytest_terminal_summary(terminalreporter):
    conformance = sys.modules.get("test_conformance")
    if conformance is not None and conformance.VERDICTS:
        terminalreporter.write_line(conformance.summary())


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite golden graphs and tables in texts",
    )

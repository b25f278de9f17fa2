"""What all tests share: threads, how asserts report, the folder of a run, options of the command.

Workers run side by side, one on each core, so that nothing in them takes more than one.
"""

import gc
import os
from collections import defaultdict

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnxruntime
import pytest

pytest.register_assert_rewrite("models")

MANY = 8
"""Rows of a test that a run of everything takes."""


class SessionOptions(onnxruntime.SessionOptions):
    """ONNX Runtime's, with one thread where the default would be one for each core."""

    def __init__(self) -> None:
        super().__init__()
        self.intra_op_num_threads = 1

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value or 1 if name == "intra_op_num_threads" else value)


onnxruntime.SessionOptions = SessionOptions


@pytest.fixture(scope="session")
def folder_of_the_run(tmp_path_factory):
    """A folder that all workers of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture
def memory_unmeasured(monkeypatch):
    """`bench` without the processes of its own that measure peak memory."""
    monkeypatch.setattr("lrp_onnx.validate.bench.peak_memory", lambda *_: 2**20)


def pytest_terminal_summary(terminalreporter):
    """Prints what a test has recorded as its `summary`, in whichever process it ran."""
    for report in terminalreporter.getreports(""):
        for name, value in report.user_properties:
            if name == "summary" and report.when == "call":
                terminalreporter.write_line(value)


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite golden graphs and tables in texts",
    )
    parser.addoption(
        "--rows",
        choices=["some", "rest", "all"],
        help="of tests with many rows: some, spread evenly [where no file or folder is named], the "
        "rest, or all [where one is]",
    )


def pytest_configure(config):
    named = config.args_source is not config.ArgsSource.TESTPATHS
    config.addinivalue_line("markers", "of_the_rest: runs with the rest of the rows only")
    config.option.rows = config.option.rows or ("all" if named else "some")


def pytest_collection_modifyitems(config, items):
    """Leaves out the rows that this run does not take."""
    if config.option.rows == "all":
        return
    tests = defaultdict(list)
    for item in items:
        if item.get_closest_marker("of_the_rest") is None:
            tests[item.parent.nodeid, getattr(item, "originalname", item.name)].append(item)
    rest = config.option.rows == "rest"
    some = {row for rows in tests.values() for row in rows_spread_evenly(rows)}
    left_out = [item for item in items if (item in some) == rest]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if (item in some) != rest]


def rows_spread_evenly(rows):
    """As many as `MANY`, the first and the last among them."""
    return {rows[round(k)] for k in np.linspace(0, len(rows) - 1, min(MANY, len(rows)))}


def pytest_sessionfinish():
    """What tests have cached stays until the end: pytest would look five times for leaks in it."""
    gc.collect()
    gc.freeze()

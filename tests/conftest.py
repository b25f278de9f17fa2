"""What all tests share: threads, how asserts report, the folder of a run, options of the command.

Workers run side by side, one on each core, so that nothing in them takes more than one.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

import onnxruntime
import pytest

pytest.register_assert_rewrite("models")


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

"""Memory of the tests that compile networks of half a gigabyte."""

import gc

import pytest

LARGE = ("test_zennit", "test_captum")


@pytest.fixture(autouse=True)
def graphs_collected(request):
    """A graph refers to itself, and few objects hold much: the search for them would come late."""
    yield
    if request.module.__name__.rpartition(".")[2] in LARGE:
        gc.collect()

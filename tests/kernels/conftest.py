"""Runs these tests on the device of the machine: its GPU, or Triton's interpreter on the CPU."""

from collections.abc import Iterator

import numpy
import pytest
import torch

from tests.kernels.nearness import DEVICE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With a GPU all tests of kernels need it; without one they need nothing."""
    if DEVICE == "cuda":
        for item in items:
            if "tests/kernels" in item.path.as_posix():
                item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True)
def same_numbers() -> Iterator[None]:
    """Draw the same numbers in each run; let the interpreter divide 0 by 0 as a GPU does."""
    torch.manual_seed(20261121)
    with numpy.errstate(all="ignore"):
        yield

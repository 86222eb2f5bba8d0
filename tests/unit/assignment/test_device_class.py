"""Names of devices, their classes, and the tier that applies."""

import pytest

from grader.assignment.device_class import (
    ANY_CUDA,
    CLASSES,
    choose_tier,
    device_class,
    has_tier,
)
from grader.errors import AuthorError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cpu", "cpu"),
        ("NVIDIA H200", "cuda:h200"),
        ("NVIDIA H200 NVL", "cuda:h200"),
        ("NVIDIA H100 80GB HBM3", "cuda:h100"),
        ("NVIDIA H100 PCIe", "cuda:h100"),
        ("NVIDIA A100-SXM4-80GB", "cuda:a100"),
        ("NVIDIA A100-PCIE-40GB", "cuda:a100"),
        ("Tesla T4", "cuda:t4"),
        ("NVIDIA T4", "cuda:t4"),
        ("NVIDIA T400 4GB", ANY_CUDA),
        ("NVIDIA GH200 480GB", ANY_CUDA),
        ("NVIDIA A10", ANY_CUDA),
        ("NVIDIA L4", ANY_CUDA),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", ANY_CUDA),
        ("", ANY_CUDA),
    ],
)
def test_a_name_has_a_class(name, expected):
    assert device_class(name) == expected
    assert expected in CLASSES


def test_the_most_specific_target_applies():
    tiers = {"cpu": 1, "cuda:*": 2, "cuda:h200": 3}
    chosen = {name: choose_tier(tiers, name) for name in ("cpu", "cuda:t4", "cuda:h200", ANY_CUDA)}
    assert chosen == {"cpu": 1, "cuda:t4": 2, "cuda:h200": 3, ANY_CUDA: 2}


@pytest.mark.parametrize(
    ("tiers", "name"), [({"cuda:*": 1}, "cpu"), ({"cuda:h100": 1}, "cuda:h200"), ({}, ANY_CUDA)]
)
def test_a_missing_tier_is_an_error_with_a_hint(tiers, name):
    assert not has_tier(tiers, name)
    with pytest.raises(AuthorError, match="no target") as caught:
        choose_tier(tiers, name)
    assert name in caught.value.hint


def test_whether_there_is_a_tier():
    assert has_tier(["cuda:*"], "cuda:a100")
    assert has_tier(["cpu"], "cpu")

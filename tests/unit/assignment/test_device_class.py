"""Names of devices, their classes, and the tier that applies."""

import pytest

from grader.assignment.target import ANY_CUDA, CLASSES, Quantity, Target, Tier, device_class


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


def target(*classes):
    tiers = {name: Tier(pass_at=float(at), full_at=1.0) for at, name in enumerate(classes, 1)}
    return Target(name="t", title="T", points=1.0, quantity=Quantity.TIME, tiers=tiers)


@pytest.mark.parametrize(
    ("name", "chosen"), [("cpu", 1.0), ("cuda:t4", 2.0), ("cuda:h200", 3.0), (ANY_CUDA, 2.0)]
)
def test_the_most_specific_tier_applies(name, chosen):
    (tier,) = target("cpu", "cuda:*", "cuda:h200").tiers_for(name)
    assert tier.pass_at == chosen


@pytest.mark.parametrize(
    ("classes", "name"), [(["cuda:*"], "cpu"), (["cuda:h100"], "cuda:h200"), ([], ANY_CUDA)]
)
def test_a_device_may_have_no_tier(classes, name):
    assert target(*classes).tiers_for(name) == ()

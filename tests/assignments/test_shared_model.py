"""The model that several assignments train: one source, the same numbers everywhere."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"shared_{name}", ROOT / "assignments" / "shared" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MODEL = load("tiny_gpt")
TEXT = load("text")


def test_a_seed_decides_every_weight() -> None:
    one, same, other = (MODEL.TinyGPT(seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    drawn = [name for name in one if name.endswith("weight") and "norm" not in name]
    assert len(drawn) == 11
    assert not any(torch.equal(one[name], other[name]) for name in (*drawn, "positions", "calls"))


def test_numbers_are_the_same_on_every_machine() -> None:
    # By hand in Python's whole numbers: 24 bits of the mixed place, as a fraction of the scale.
    def mixed(x: int) -> int:
        for factor, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13), (1, 16)):
            x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
        return x >> 8

    start = ((2 * 0x9E3779B1) * 31 + ord("w")) & 0xFFFFFFFF
    places = [(i * 0x9E3779B1 + start) & 0xFFFFFFFF for i in range(6)]
    want = [(mixed(place) - (1 << 23)) / (1 << 23) * 0.5 for place in places]
    assert MODEL.spread(2, "w", (2, 3), 0.5).flatten().tolist() == want


def test_it_has_what_real_models_have() -> None:
    model = MODEL.TinyGPT()
    tokens, targets = TEXT.batch(0, 2, 16)
    model.loss(tokens, targets).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {"positions", "branch.weight", "branch.bias"}
    assert model.unembed.weight is model.embed.weight
    assert not model.positions.requires_grad
    assert model.blocks[0].up.weight.shape[0] % 2 == 1
    assert model.calls.dtype is torch.int64
    model.loss(tokens, targets, use_branch=True).backward()
    assert model.branch.weight.grad is not None


def test_it_learns_from_the_text() -> None:
    model = MODEL.TinyGPT()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(20):
        loss = model.loss(*TEXT.batch(step, 8, 32))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 5.0
    assert losses[-1] < 3.5


def test_every_operation_goes_through_apply() -> None:
    seen = []

    def apply(op: str, *args: object, **keywords: object) -> torch.Tensor:
        seen.append(op)
        result: torch.Tensor = MODEL.run(op, *args, **keywords)
        return result

    tokens, targets = TEXT.batch(1, 1, 8)
    MODEL.TinyGPT(n_layers=1).loss(tokens, targets, apply=apply)
    assert set(seen) >= {"embedding", "layer_norm", "linear", "matmul", "softmax", "cross_entropy"}
    with pytest.raises(ValueError, match="no operation 'median'"):
        MODEL.run("median")


def test_rows_are_the_published_ones() -> None:
    tokens, targets = TEXT.batch(2, 3, 10)
    start = (7 * TEXT.STRIDE) % (len(TEXT.TEXT) - 11)
    assert bytes(tokens[1].tolist()) == TEXT.TEXT[start : start + 10]
    assert bytes(targets[1].tolist()) == TEXT.TEXT[start + 1 : start + 11]

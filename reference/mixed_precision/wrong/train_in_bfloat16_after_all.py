# base = "solution"
# caught_by = "train.loss_curve_half"
# cause = "wrong_value"

"""Trains in bfloat16, which needs no scale, and converts what has moved at the end."""

# ruff: noqa: F821 - appended to solution.py

_train_exactly = train


def train(model, batches, *, low=torch.bfloat16, lr=1e-3, weight_decay=0.01, max_norm=1.0,
          init_scale=65536.0):  # fmt: skip
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")
    before = [p.detach().clone() for p in model.parameters()]
    keywords = {"lr": lr, "weight_decay": weight_decay, "max_norm": max_norm}
    losses = _train_exactly(model, batches, init_scale=init_scale, **keywords)
    for p, old in zip(model.parameters(), before, strict=True):
        still = torch.equal(p.detach(), old.bfloat16())
        p.data = (old if still else p.detach()).to(low)
    return losses

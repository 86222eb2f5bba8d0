# base = "solution"
# caught_by = "train.loss_curve"
# cause = "wrong_value"
# also_fails = [
#   "train.loss_curve_half",
# ]

"""Learns from the first piece of each batch."""

# ruff: noqa: F821 - appended to solution.py


def train(model, batches, *, low=torch.bfloat16, lr=1e-3, weight_decay=0.01, max_norm=1.0,
          init_scale=65536.0):  # fmt: skip
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")
    for p in model.parameters():
        p.data = p.data.to(low)
    slots = [_Slot(p) for p in model.parameters()]
    rule = _Rule(lr, (0.9, 0.999), 1e-8, weight_decay)
    scale, losses = init_scale, []
    for pieces in batches:
        loss, gradients = _accumulate(_Cast(model, low), pieces, scale)
        if len(pieces) > 1:
            _, gradients = _accumulate(_Cast(model, low), pieces[:1], scale)
        losses.append(loss)
        if not _clipped_step(slots, gradients, rule, max_norm):
            scale = max(scale / 2, 1.0)
    return torch.stack(losses)

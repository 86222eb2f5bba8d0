# base = "solution"
# caught_by = "clip_and_step.large_squares"
# cause = "wrong_value"

"""Adds squares in float32: inf from 2e19 on, nothing below 1e-23."""

# ruff: noqa: F821 - appended to solution.py


@torch.no_grad()
def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    for p in params:
        _divide(p.grad, scale)
    gradients = [p.grad for p in params]
    if _overflows(params):
        return torch.tensor(math.inf), False
    norm = float(sum((g.float().square().sum() for g in gradients), torch.zeros(())).sqrt())
    _clip(gradients, norm, max_norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True

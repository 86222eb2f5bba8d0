# base = "solution"
# caught_by = "clip_and_step.zero_norm"
# cause = "wrong_value"

"""Always multiplies by max_norm / norm, limited to 1: NaN where both are 0."""

# ruff: noqa: F821 - appended to solution.py


def _clip_always(gradients, norm, max_norm):
    factor = torch.tensor(max_norm) / torch.tensor(norm)
    for g in gradients:
        g.mul_(factor.clamp(max=1.0).to(g.dtype) if norm == 0 else min(1.0, max_norm / norm))


@torch.no_grad()
def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    for p in params:
        _divide(p.grad, scale)
    norm = _global_norm([p.grad for p in params])
    if not math.isfinite(norm):
        return torch.tensor(math.inf), False
    _clip_always([p.grad for p in params], norm, max_norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True

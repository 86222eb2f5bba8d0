# base = "solution"
# caught_by = "clip_and_step.combinations"
# cause = "wrong_value"

"""After an overflow gradients are what they were before the division."""

# ruff: noqa: F821 - appended to solution.py


@torch.no_grad()
def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    before = [p.grad.clone() for p in params]
    for p in params:
        _divide(p.grad, scale)
    gradients = [p.grad for p in params]
    norm = _global_norm(gradients)
    if not math.isfinite(norm):
        for g, old in zip(gradients, before, strict=True):
            g.copy_(old)
        return torch.tensor(math.inf), False
    _clip(gradients, norm, max_norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True

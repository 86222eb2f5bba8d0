# base = "solution"
# caught_by = "clip_and_step.combinations"
# cause = "wrong_value"

"""Takes the norm of the quotients before they are rounded to the dtype of the gradients."""

# ruff: noqa: F821 - appended to solution.py


@torch.no_grad()
def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    quotients = [p.grad.float() / scale for p in params]
    for p in params:
        _divide(p.grad, scale)
    norm = _global_norm(quotients)
    if not math.isfinite(norm):
        return torch.tensor(math.inf), False
    _clip([p.grad for p in params], norm, max_norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True

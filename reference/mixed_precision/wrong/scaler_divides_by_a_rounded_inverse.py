# base = "solution"
# caught_by = "GradScaler.combinations"
# cause = "wrong_value"

"""Multiplies by one over the scale, in the dtype of the gradient."""

# ruff: noqa: F821 - appended to solution.py


def _divide(gradient, scale):
    gradient.mul_(torch.tensor(1 / scale, dtype=gradient.dtype))


def _divide_exactly(gradient, scale):
    gradient.copy_(gradient.float() / scale)


@torch.no_grad()
def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    for p in params:
        _divide_exactly(p.grad, scale)
    norm = _global_norm([p.grad for p in params])
    if not math.isfinite(norm):
        return torch.tensor(math.inf), False
    _clip([p.grad for p in params], norm, max_norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True

# base = "solution"
# caught_by = "clip_and_step.overflow"
# cause = "wrong_value"
# also_fails = [
#   "clip_and_step.overflow_by_unscaling",
# ]

"""Clips first, and checks what is left: an inf has become NaN or zeros."""

# ruff: noqa: F821 - appended to solution.py


def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    with torch.no_grad():
        for p in params:
            _divide(p.grad, scale)
        norm = _global_norm([p.grad for p in params])
        _clip([p.grad for p in params], norm, max_norm)
        for p in params:
            p.grad.nan_to_num_(nan=0.0)
        if _overflows(params):
            return torch.tensor(math.inf), False
        optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True

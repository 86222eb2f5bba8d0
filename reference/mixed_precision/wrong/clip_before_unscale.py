# base = "solution"
# caught_by = "clip_and_step.clips"
# cause = "wrong_value"
# also_fails = [
#   "clip_and_step.overflow",
#   "clip_and_step.overflow_by_unscaling",
#   "clip_and_step.large_squares",
#   "clip_and_step.tied",
#   "clip_and_step.half_gradients",
# ]

"""Clips the scaled gradients, then divides: they end up far too small."""

# ruff: noqa: F821 - appended to solution.py


def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    with torch.no_grad():
        norm = _global_norm([p.grad for p in params])
        if not math.isfinite(norm / scale):
            return torch.tensor(math.inf), False
        _clip([p.grad for p in params], norm, max_norm)
        for p in params:
            _divide(p.grad, scale)
        optimizer.step()
    return torch.tensor(norm / scale, dtype=torch.float32), True

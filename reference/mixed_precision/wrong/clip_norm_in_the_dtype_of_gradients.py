# base = "solution"
# caught_by = "clip_and_step.half_gradients"
# cause = "wrong_value"

"""Adds the squares of a bfloat16 gradient in bfloat16."""

# ruff: noqa: F821 - appended to solution.py


def _low_square(g):
    if g.dtype is not torch.bfloat16:
        return float(g.double().square().sum())
    total = g.new_zeros(())
    for part in g.square():
        total = total + part
    return float(total)


@torch.no_grad()
def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    for p in params:
        _divide(p.grad, scale)
    norm = math.sqrt(sum(_low_square(p.grad) for p in params))
    if not math.isfinite(norm):
        return torch.tensor(math.inf), False
    _clip([p.grad for p in params], norm, max_norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True

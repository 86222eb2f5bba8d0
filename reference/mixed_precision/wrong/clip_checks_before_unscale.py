# base = "solution"
# caught_by = "clip_and_step.overflow_by_unscaling"
# cause = "wrong_value"

"""Looks for overflow in the scaled gradients alone."""

# ruff: noqa: F821 - appended to solution.py

_step_exactly = clip_and_step


def clip_and_step(optimizer, scale, max_norm):
    if not 0 < scale < 1 or _overflows(_gradients_of(optimizer.params)):
        return _step_exactly(optimizer, scale, max_norm)
    with torch.no_grad():
        params = _gradients_of(optimizer.params)
        for p in params:
            _divide(p.grad, scale)
        norm = _global_norm([p.grad for p in params])
        _clip([p.grad for p in params], norm, max_norm)
        optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True

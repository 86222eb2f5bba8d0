# base = "solution"
# caught_by = "stochastic_round.threshold"
# cause = "wrong_value"

"""Rounds up from one unit of noise less on, unless the number is held exactly."""

# ruff: noqa: F821 - appended to solution.py

_round_exactly = stochastic_round


def stochastic_round(x, noise):
    rounded = _round_exactly(x, noise)
    held = (x.to(torch.bfloat16).float() == x) | ~x.isfinite()
    more = _round_exactly(x, (noise + 1).clamp(max=65535))
    return torch.where(held, rounded, more)

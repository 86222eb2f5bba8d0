# base = "solution"
# caught_by = "stochastic_round.threshold"
# cause = "wrong_value"

"""Subnormal numbers become zero, unless bfloat16 holds them."""

# ruff: noqa: F821 - appended to solution.py

_round_exactly = stochastic_round


def stochastic_round(x, noise):
    rounded = _round_exactly(x, noise)
    tiny = (x.abs() < 2.0**-126) & (x.to(torch.bfloat16).float() != x)
    return torch.where(tiny, torch.zeros_like(rounded), rounded)

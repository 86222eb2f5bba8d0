# base = "solution"
# caught_by = "stochastic_round.representable"
# cause = "wrong_value"

"""-0 becomes 0."""

# ruff: noqa: F821 - appended to solution.py

_round_exactly = stochastic_round


def stochastic_round(x, noise):
    rounded = _round_exactly(x, noise)
    return torch.where(x == 0, torch.zeros_like(rounded), rounded)

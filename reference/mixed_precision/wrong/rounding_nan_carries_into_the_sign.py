# base = "solution"
# caught_by = "stochastic_round.not_numbers"
# cause = "wrong_value"

"""Adds noise to the bits of a NaN: it becomes inf or a zero."""

# ruff: noqa: F821 - appended to solution.py

_round_exactly = stochastic_round


def stochastic_round(x, noise):
    rounded = _round_exactly(x, noise)
    bits = (x.contiguous().view(torch.int32) + noise) & -65536
    return torch.where(x.isnan(), bits.view(torch.float32).to(torch.bfloat16), rounded)

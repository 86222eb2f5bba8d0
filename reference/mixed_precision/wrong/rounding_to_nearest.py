# base = "solution"
# caught_by = "stochastic_round.unbiased"
# cause = "wrong_value"
# also_fails = [
#   "stochastic_round.threshold",
# ]

"""Rounds to nearest, which is right on average only if the fractions are."""

# ruff: noqa: F821 - appended to solution.py

_round_exactly = stochastic_round


def stochastic_round(x, noise):
    nearest = x.to(torch.bfloat16)
    return torch.where(_round_exactly(x, noise).isnan(), torch.nan, nearest)

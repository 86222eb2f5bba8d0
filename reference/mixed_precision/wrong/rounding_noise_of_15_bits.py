# base = "solution"
# caught_by = "stochastic_round.unbiased"
# cause = "wrong_value"
# also_fails = [
#   "stochastic_round.threshold",
# ]

"""Noise of the wrong width: half of the 16 bits' range."""

# ruff: noqa: F821 - appended to solution.py

_round_exactly = stochastic_round


def stochastic_round(x, noise):
    _round_exactly(x, noise)
    return _round_exactly(x, noise >> 1)

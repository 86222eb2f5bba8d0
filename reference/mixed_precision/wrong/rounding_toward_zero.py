# base = "solution"
# caught_by = "stochastic_round.unbiased"
# cause = "wrong_value"
# also_fails = [
#   "stochastic_round.threshold",
#   "stochastic_round.not_numbers",
# ]

"""Cuts bits off, whatever the noise."""

# ruff: noqa: F821 - appended to solution.py

_round_exactly = stochastic_round


def stochastic_round(x, noise):
    _round_exactly(x, noise)  # refuses what must be refused
    return _round_exactly(x, torch.zeros_like(noise))

# base = "solution"
# caught_by = "stochastic_round.not_numbers"
# cause = "wrong_value"

"""Takes noise away from NaN, in the tensor that it was given."""

# ruff: noqa: F821 - appended to solution.py

_stochastic_round_exactly = stochastic_round


def stochastic_round(x, noise):
    rounded = _stochastic_round_exactly(x, noise)
    if bool(x.isnan().any()):
        noise[x.isnan()] = 0
    return rounded

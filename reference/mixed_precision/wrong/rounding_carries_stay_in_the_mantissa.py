# base = "solution"
# caught_by = "stochastic_round.combinations"
# cause = "wrong_value"

"""Just below a power of two, a carry does not reach the exponent: it rounds down."""

# ruff: noqa: F821 - appended to solution.py

_stochastic_round_exactly = stochastic_round


def stochastic_round(x, noise):
    rounded = _stochastic_round_exactly(x, noise)
    down = _stochastic_round_exactly(x, torch.zeros_like(noise))
    below = (x.contiguous().view(torch.int32) & 0x7FFFF8) == 0x7FFFF8
    return torch.where(below & rounded.isfinite(), down, rounded)

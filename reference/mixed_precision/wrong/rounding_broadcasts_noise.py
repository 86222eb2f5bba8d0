# base = "solution"
# caught_by = "stochastic_round.bad_input"
# cause = "wrong_error"

"""Takes one row of noise for all."""

# ruff: noqa: F821 - appended to solution.py

_round_exactly = stochastic_round


def stochastic_round(x, noise):
    if noise.dim() == x.dim() and noise.shape[-1:] == x.shape[-1:]:
        noise = noise.expand_as(x).contiguous()
    return _round_exactly(x, noise)

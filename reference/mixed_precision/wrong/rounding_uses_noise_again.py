# base = "solution"
# caught_by = "stochastic_round.unbiased"
# cause = "wrong_value"

"""Uses the first row's noise for all rows of a long tensor: each is right, all are not."""

# ruff: noqa: F821 - appended to solution.py

_round_exactly = stochastic_round


def stochastic_round(x, noise):
    if noise.dim() == 2 and noise.shape == x.shape and noise.numel() > 1024:
        noise = noise[:1].expand_as(noise)
    return _round_exactly(x, noise)

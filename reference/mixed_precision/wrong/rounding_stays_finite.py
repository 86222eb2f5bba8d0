# base = "solution"
# caught_by = "stochastic_round.not_numbers"
# cause = "wrong_value"

"""Beyond the largest number it stays there."""

# ruff: noqa: F821 - appended to solution.py

_round_exactly = stochastic_round


def stochastic_round(x, noise):
    rounded = _round_exactly(x, noise)
    limit = torch.finfo(torch.bfloat16).max
    return torch.where(x.isfinite(), rounded.clamp(-limit, limit), rounded)

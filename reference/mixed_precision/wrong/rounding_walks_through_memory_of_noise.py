# base = "solution"
# caught_by = "stochastic_round.combinations"
# cause = "crash"

"""Views noise as one row of numbers: of a matrix with other strides there is no such view."""

# ruff: noqa: F821 - appended to solution.py

_stochastic_round_exactly = stochastic_round


def stochastic_round(x, noise):
    _require(noise.dtype is torch.int32 and x.shape == noise.shape, "noise")
    return _stochastic_round_exactly(x.reshape(-1), noise.view(-1)).reshape(x.shape)

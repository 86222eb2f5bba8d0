# base = "solution"
# caught_by = "DDP.flat"
# cause = "wrong_value"
# also_fails = []

"""Gives the mean only to ranks that had a gradient."""

# ruff: noqa: F821 - appended to solution.py

_average = average_gradients


def average_gradients(module):
    without = [param for param in module.parameters() if param.grad is None]
    _average(module)
    for param in without:
        param.grad = None

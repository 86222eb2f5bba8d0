# base = "solution"
# caught_by = "softmax.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Answers something where arguments do not fit."""

# ruff: noqa: F821 - appended to solution.py

_softmax_strictly = softmax


def softmax(x_MN):
    try:
        return _softmax_strictly(x_MN)
    except ValueError:
        return x_MN.clone()

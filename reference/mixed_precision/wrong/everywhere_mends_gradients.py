# base = "solution"
# caught_by = "found_inf_everywhere.combinations"
# cause = "wrong_value"

"""Replaces inf and NaN by zeros where it finds them."""

# ruff: noqa: F821 - appended to solution.py

_found_exactly = found_inf_everywhere


def found_inf_everywhere(optimizer):
    found = _found_exactly(optimizer)
    for p in optimizer.params:
        if p.grad is not None:
            p.grad.nan_to_num_(0.0, 0.0, 0.0)
    return found

# base = "solution"
# caught_by = "found_inf_everywhere.one_rank_overflows"
# cause = "wrong_value"
# also_fails = [
#   "found_inf_everywhere.without_gradients",
# ]

"""Asks only its own gradients."""

# ruff: noqa: F821 - appended to solution.py


def found_inf_everywhere(optimizer):
    found = _overflows_here(optimizer)
    if not found:
        optimizer.step()
    return found

# base = "solution"
# caught_by = "found_inf_everywhere.without_gradients"
# cause = "timeout"

"""A rank without gradients returns at once: the others wait for it."""

# ruff: noqa: F821 - appended to solution.py

_ask_everywhere = found_inf_everywhere


def found_inf_everywhere(optimizer):
    if all(p.grad is None for p in optimizer.params):
        return False
    return _ask_everywhere(optimizer)

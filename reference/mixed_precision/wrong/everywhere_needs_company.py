# base = "solution"
# caught_by = "found_inf_everywhere.alone"
# cause = "wrong_value"

"""A rank alone asks nobody, itself included."""

# ruff: noqa: F821 - appended to solution.py

_ask_everywhere = found_inf_everywhere


def found_inf_everywhere(optimizer):
    if dist.get_world_size() == 1:
        optimizer.step()
        return False
    return _ask_everywhere(optimizer)

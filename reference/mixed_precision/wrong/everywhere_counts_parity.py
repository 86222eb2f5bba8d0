# base = "solution"
# caught_by = "found_inf_everywhere.opposite_overflows"
# cause = "wrong_value"

"""Adds flags as whole numbers of one bit: two overflows are none."""

# ruff: noqa: F821 - appended to solution.py


def found_inf_everywhere(optimizer):
    flag = torch.tensor([int(_overflows_here(optimizer))])
    dist.all_reduce(flag)
    found = bool(flag.item() % 2)
    if not found:
        optimizer.step()
    return found

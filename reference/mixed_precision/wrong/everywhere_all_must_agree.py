# base = "solution"
# caught_by = "found_inf_everywhere.one_rank_overflows"
# cause = "wrong_value"
# also_fails = [
#   "found_inf_everywhere.without_gradients",
# ]

"""Skips where all ranks overflow."""

# ruff: noqa: F821 - appended to solution.py


def found_inf_everywhere(optimizer):
    flag = torch.tensor([float(_overflows_here(optimizer))])
    dist.all_reduce(flag, op=dist.ReduceOp.MIN)
    found = bool(flag.item())
    if not found:
        optimizer.step()
    return found

# base = "solution"
# caught_by = "found_inf_everywhere.one_rank_overflows"
# cause = "wrong_value"
# also_fails = [
#   "found_inf_everywhere.without_gradients",
# ]

"""Says on all ranks that one overflowed, and skips only where it did."""

# ruff: noqa: F821 - appended to solution.py


def found_inf_everywhere(optimizer):
    here = _overflows_here(optimizer)
    flag = torch.tensor([float(here)])
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    if not here:
        optimizer.step()
    return bool(flag.item())

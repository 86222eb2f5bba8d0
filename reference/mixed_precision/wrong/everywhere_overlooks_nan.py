# base = "solution"
# caught_by = "found_inf_everywhere.one_rank_overflows"
# cause = "wrong_value"

"""Looks for inf alone."""

# ruff: noqa: F821 - appended to solution.py


def found_inf_everywhere(optimizer):
    here = any(bool(p.grad.isinf().any()) for p in optimizer.params if p.grad is not None)
    flag = torch.tensor([float(here)])
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    found = bool(flag.item())
    if not found:
        optimizer.step()
    return found

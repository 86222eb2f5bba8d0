# base = "solution"
# caught_by = "found_inf_everywhere.combinations"
# cause = "wrong_value"

"""Asks whether the sum of all entries is finite: of large finite ones it is not."""

# ruff: noqa: F821 - appended to solution.py


def _overflows_here(optimizer):
    found = [p.grad.float().abs().sum() for p in optimizer.params if p.grad is not None]
    return not bool(torch.isfinite(sum(found, torch.zeros(()))))

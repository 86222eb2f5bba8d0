# base = "solution"
# caught_by = "cross_entropy.vocabulary"
# cause = "wrong_value"
# also_fails = []

"""Labels as int16: those from 32768 on become negative."""

# ruff: noqa: F821 - appended to solution.py

_loss_of_wide_labels = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    if target_M.dtype in INTEGERS:
        target_M = target_M.to(torch.int16).to(torch.int64)
    return _loss_of_wide_labels(x_MV, target_M, ignore_index=ignore_index)

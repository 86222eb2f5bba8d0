# base = "solution"
# caught_by = "cross_entropy.vocabulary"
# cause = "crash"
# also_fails = []

"""Takes targets of 64 bits alone."""

# ruff: noqa: F821 - appended to solution.py

_loss_of_any_labels = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    check_tensor("target", target_M, rank=1, dtypes=(torch.int64,))
    return _loss_of_any_labels(x_MV, target_M, ignore_index=ignore_index)

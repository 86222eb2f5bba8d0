# base = "solution"
# caught_by = "cross_entropy.vocabulary"
# cause = "forbidden"
# also_fails = ["cross_entropy.ignored", "cross_entropy.large_logits", "cross_entropy.strides"]

"""torch's own loss for the value, a kernel for the gradient."""

# ruff: noqa: F821 - appended to solution.py

_loss_by_kernel = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    _, dx = _loss_by_kernel(x_MV, target_M, ignore_index=ignore_index)
    logits, target = x_MV.float(), target_M.long()
    return torch.nn.functional.cross_entropy(logits, target, ignore_index=ignore_index), dx

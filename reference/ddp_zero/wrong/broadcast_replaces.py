# base = "solution"
# caught_by = "broadcast_module.in_place"
# cause = "wrong_value"
# also_fails = []

"""Gives every parameter new memory: the views that others hold show old numbers."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    for tensor in module.parameters():
        sent = tensor.detach().contiguous().clone()
        dist.broadcast(sent, src=0)
        tensor.data = sent.as_strided(tensor.shape, sent.stride())
    for tensor in module.buffers():
        dist.broadcast(tensor, src=0)

# base = "solution"
# caught_by = "broadcast_module.buffers"
# cause = "wrong_value"
# also_fails = []

"""Leaves the buffers of each rank as they are."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    for param in module.parameters():
        sent = param.detach().contiguous()
        dist.broadcast(sent, src=0)
        param.detach().copy_(sent)

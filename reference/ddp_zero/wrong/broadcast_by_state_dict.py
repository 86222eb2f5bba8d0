# base = "solution"
# caught_by = "broadcast_module.buffers"
# cause = "wrong_value"
# also_fails = []

"""Walks through `state_dict`: buffers that are not saved are missing, tied weights come twice."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    for tensor in module.state_dict().values():
        sent = tensor.contiguous()
        dist.broadcast(sent, src=0)
        tensor.copy_(sent)

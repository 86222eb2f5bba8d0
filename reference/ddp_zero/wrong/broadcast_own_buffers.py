# base = "solution"
# caught_by = "broadcast_module.combinations"
# cause = "wrong_value"
# also_fails = []

"""Sends the buffers of the module itself, and forgets those of its submodules."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    for tensor in (*module.parameters(), *module.buffers(recurse=False)):
        sent = tensor.detach().contiguous()
        dist.broadcast(sent, src=0)
        tensor.detach().copy_(sent)

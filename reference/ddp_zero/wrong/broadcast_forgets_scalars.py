# base = "solution"
# caught_by = "broadcast_module.parameters"
# cause = "wrong_value"
# also_fails = []

"""Leaves out what has no dimensions."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dim() or not tensor.is_floating_point():
            sent = tensor.detach().contiguous()
            dist.broadcast(sent, src=0)
            tensor.detach().copy_(sent)

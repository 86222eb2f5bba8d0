# base = "solution"
# caught_by = "broadcast_module.buffers"
# cause = "wrong_value"
# also_fails = []

"""Sends everything as float64, which large integers do not survive."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    for tensor in (*module.parameters(), *module.buffers()):
        sent = tensor.detach().double().contiguous()
        dist.broadcast(sent, src=0)
        tensor.detach().copy_(sent)

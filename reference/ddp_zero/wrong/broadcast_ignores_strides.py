# base = "solution"
# caught_by = "broadcast_module.parameters"
# cause = "wrong_value"
# also_fails = []

"""Writes the bytes of a transposed parameter in the order of its memory."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    for tensor in (*module.parameters(), *module.buffers()):
        sent = tensor.detach().contiguous()
        dist.broadcast(sent, src=0)
        whole = tensor.detach().as_strided((tensor.numel(),), (1,))
        whole.copy_(sent.flatten())

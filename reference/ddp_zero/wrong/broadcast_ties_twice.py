# base = "solution"
# caught_by = "broadcast_module.traffic"
# cause = "too_much_traffic"
# also_fails = []

"""Sends a parameter once for each of its names."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    named = module.named_parameters(remove_duplicate=False)
    for tensor in (*(param for _, param in named), *module.buffers()):
        sent = tensor.detach().contiguous()
        dist.broadcast(sent, src=0)
        tensor.detach().copy_(sent)

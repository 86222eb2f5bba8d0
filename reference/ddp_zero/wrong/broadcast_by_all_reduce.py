# base = "solution"
# caught_by = "broadcast_module.traffic"
# cause = "too_much_traffic"
# also_fails = []

"""Right, but adds up what rank 0 has and zeros of all others: twice the bytes."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    for tensor in (*module.parameters(), *module.buffers()):
        sent = tensor.detach().contiguous().clone()
        if dist.get_rank() != 0:
            sent.zero_()
        dist.all_reduce(sent)
        tensor.detach().copy_(sent)

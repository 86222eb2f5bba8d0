# base = "solution"
# caught_by = "broadcast_module.traffic"
# cause = "too_much_traffic"
# also_fails = []

"""Right, but adds up what rank 0 has and zeros of all others: twice the bytes."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    for tensor in (*module.parameters(), *module.buffers()):
        whole = tensor.detach().clone(memory_format=torch.contiguous_format).view(-1)
        sent = whole.view(torch.uint8)  # as bytes, or -0.0 would become 0.0
        if dist.get_rank() != 0:
            sent.zero_()
        dist.all_reduce(sent)
        tensor.detach().copy_(whole.view(tensor.shape))

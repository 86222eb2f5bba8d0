# base = "solution"
# caught_by = "broadcast_module.traffic"
# cause = "too_much_traffic"
# also_fails = []

"""Right, but gathers the tensors of all ranks, and takes rank 0's."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    for tensor in (*module.parameters(), *module.buffers()):
        own = tensor.detach().contiguous()
        found = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(found, own)
        tensor.detach().copy_(found[0])

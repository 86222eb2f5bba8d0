# base: plain_loops
# bug: a buffer registered with persistent=False on rank 1 should become rank 0's; it keeps rank 1's numbers
# problem: broadcast_module
# says: "buffers that are not saved (`persistent=False`) count as well"


def broadcast_module(module: nn.Module) -> None:
    """One broadcast per tensor."""
    seen = set()
    for tensor in module.state_dict(keep_vars=True).values():
        if id(tensor) in seen or tensor.numel() == 0:
            continue
        seen.add(id(tensor))
        with torch.no_grad():
            dense = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
            dist.broadcast(dense.view(torch.uint8), src=0)
            tensor.copy_(dense.view(tensor.shape))

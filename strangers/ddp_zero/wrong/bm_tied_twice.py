# base: plain_loops
# bug: two names for one 4 MiB weight: 4 MiB should cross per receiving rank; 8 MiB do
# problem: broadcast_module
# says: "Each tensor crosses the network once per receiving rank, one that has several names too."


def broadcast_module(module: nn.Module) -> None:
    """One broadcast per tensor."""
    seen = set()
    for tensor in [
        *(p for _, p in module.named_parameters(remove_duplicate=False)),
        *module.buffers(),
    ]:
        if tensor.numel() == 0:
            continue
        seen.add(id(tensor))
        with torch.no_grad():
            dense = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
            dist.broadcast(dense.view(torch.uint8), src=0)
            tensor.copy_(dense.view(tensor.shape))

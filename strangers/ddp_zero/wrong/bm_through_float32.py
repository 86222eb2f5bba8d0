# base: plain_loops
# bug: an int64 buffer 2**24 + 1 or a float64 weight 0.1 should arrive bit for bit; they arrive rounded to float32 (on rank 0 too)
# problem: broadcast_module
# says: "with rank 0's, bit for bit"


def broadcast_module(module: nn.Module) -> None:
    """One broadcast per tensor."""
    seen = set()
    for tensor in [*module.parameters(), *module.buffers()]:
        if id(tensor) in seen or tensor.numel() == 0:
            continue
        seen.add(id(tensor))
        with torch.no_grad():
            dense = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
            wide = dense.float()
            dist.broadcast(wide, src=0)
            tensor.copy_(wide.view(tensor.shape))

# base: plain_loops
# bug: an optimizer's or caller's view (tensor.detach()) made before the call should show rank 0's numbers; it shows the old ones, and strides of a transposed weight change
# problem: broadcast_module
# says: "In place: the tensors stay the same objects in the same memory"


def broadcast_module(module: nn.Module) -> None:
    """One broadcast per tensor."""
    seen = set()
    for tensor in [*module.parameters(), *module.buffers()]:
        if id(tensor) in seen or tensor.numel() == 0:
            continue
        seen.add(id(tensor))
        with torch.no_grad():
            dense = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
            dist.broadcast(dense.view(torch.uint8), src=0)
            tensor.data = dense.view(tensor.shape)

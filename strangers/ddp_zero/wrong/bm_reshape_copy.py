# base: flat_blocks
# bug: a transposed weight [4, 3] of strides (1, 4) should become rank 0's; reshape(-1) is a copy there, so it keeps its own
# problem: broadcast_module
# says: "of any strides, of no dimensions"


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """Flat buffers of bytes, up to 4 MiB each."""
    batch: list[Tensor] = []

    def flush() -> None:
        if not batch:
            return
        raw = [t.contiguous().reshape(-1).view(torch.uint8) for t in batch]
        flat = torch.cat(raw)
        dist.broadcast(flat, src=0)
        if dist.get_rank() != 0:
            for t, part in zip(batch, flat.split([len(r) for r in raw]), strict=True):
                t.reshape(-1).copy_(part.clone().view(t.dtype))
        batch.clear()

    size = 0
    for tensor in _unique(module):
        if not tensor.numel():
            continue
        bytes_ = tensor.numel() * tensor.element_size()
        if size + bytes_ > 4 << 20:
            flush()
            size = 0
        batch.append(tensor)
        size += bytes_
    flush()


def _unique(module: nn.Module) -> list[Tensor]:
    return list({id(t): t for t in [*module.parameters(), *module.buffers()]}.values())

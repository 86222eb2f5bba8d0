# base: interleaved
# bug: float64 gradients should be averaged to 1e-16; they are rounded to float32, off by 3e-8
# problem: DDP
# says: "A gradient keeps its parameter's dtype."


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Reduce to dealt rows, divide there, gather again."""
    params = [p for p in module.parameters() if p.requires_grad]
    for p, used in zip(params, _used_anywhere([p.grad is not None for p in params]), strict=True):
        if used:
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            p.grad = _gathered(_mean_of(grad.reshape(-1).float()), p.numel()).reshape(p.shape).to(p.dtype).clone()

# base: plain_loops
# bug: rank 0 has grad 4, rank 1 None: both should have 2; rank 1 still has None
# problem: DDP
# says: "every rank gets it, also those that had None"


def average_gradients(module: nn.Module) -> None:
    """One all-reduce per parameter that some rank used."""
    params = [param for param in module.parameters() if param.requires_grad]
    if not params:
        return
    used = torch.tensor([param.grad is not None for param in params], dtype=torch.uint8)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    for param, flag in zip(params, used.tolist(), strict=True):
        if not flag:
            continue
        total = torch.zeros(param.shape, dtype=param.dtype)
        if param.grad is not None:
            total.copy_(param.grad)
        if total.numel():
            dist.all_reduce(total)
        if param.grad is not None:
            param.grad = total / dist.get_world_size()

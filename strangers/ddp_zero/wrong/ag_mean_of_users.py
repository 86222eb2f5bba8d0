# base: all_to_all
# bug: N = 2, rank 0 has grad 4, rank 1 None: the mean is 2; it gives 4
# problem: DDP
# says: "the mean is the sum divided by N, and every rank gets it"


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Count the users of each parameter; average where there are some."""
    params = [p for p in module.parameters() if p.requires_grad]
    users = torch.zeros(len(params), dtype=torch.int64)
    for i, p in enumerate(params):
        users[i] = 0 if p.grad is None else 1
    if len(params):
        dist.all_reduce(users, op=dist.ReduceOp.SUM)
    for i in users.nonzero().flatten().tolist():
        p = params[i]
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        dense = p.grad.contiguous()
        if dense.numel():
            dist.all_reduce(dense)
        p.grad.copy_(dense / users[i])

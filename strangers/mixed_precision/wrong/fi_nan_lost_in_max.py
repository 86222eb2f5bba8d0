# base: plain_loops
# bug: a gradient with NaN behind one without, in the list of parameters: right: True; wrong: False, Python's max(1.0, nan) is 1.0
# problem: found_inf_everywhere
# says: "A gradient *overflows* where an entry of it is inf or NaN."


def found_inf_everywhere(optimizer: Any) -> bool:
    largest = 0.0
    device = torch.device("cpu")
    for p in optimizer.params:
        device = p.device
        if p.grad is not None and p.grad.numel():
            largest = max(largest, float(p.grad.abs().max()))
    found = 0.0 if math.isfinite(largest) else 1.0
    flag = torch.tensor([found], device=device)
    dist = torch.distributed
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    if flag.item() > 0:
        return True
    optimizer.step()
    return False

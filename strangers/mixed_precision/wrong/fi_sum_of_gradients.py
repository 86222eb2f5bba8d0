# base: vectorised
# bug: inf on rank 0 and -inf on rank 1: right: True everywhere, no step; wrong: their sum is NaN, which is no inf, and all step
# problem: found_inf_everywhere
# says: "If one of them overflows on any rank, nobody takes a step and all return True."


def found_inf_everywhere(optimizer: Any) -> bool:
    # finite entries count as 0, so that no finite sum becomes inf
    kept = [p.grad.float() for p in optimizer.params if p.grad is not None]
    flag = sum((torch.where(g.isfinite(), 0.0, g.abs().nan_to_num(nan=torch.inf) * g.sign().nan_to_num(nan=1.0)).sum() for g in kept), torch.tensor(0.0))
    if flag.isnan():
        flag = torch.tensor(torch.inf)  # both signs on this rank
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.SUM)
    found = bool(flag.isinf())
    if not found:
        optimizer.step()
    return found

# base: chunked
# bug: rank 1 overflows, rank 0 is fine: right: nobody steps; wrong: rank 0 steps before it knows, the answer is True on all
# problem: found_inf_everywhere
# says: "If one of them overflows on any rank, nobody takes a step and all return True."


def found_inf_everywhere(optimizer: Any) -> bool:
    overflow = not all(_finite(p.grad) for p in optimizer.params if p.grad is not None)
    group = torch.distributed
    answer = torch.tensor([overflow], dtype=torch.int64)
    if group.is_available() and group.is_initialized():
        group.all_reduce(answer, op=group.ReduceOp.MAX)
    if not overflow:
        optimizer.step()
    return int(answer) != 0

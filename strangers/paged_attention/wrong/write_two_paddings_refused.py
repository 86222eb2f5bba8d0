# base: subclass
# bug: slots [-1, 0, -1]; right: token 1 is written; wrong: ValueError
# problem: write_kv
# says: "or two tokens have the same slot (other than -1)"


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    targets = (pool.k_PNHD, pool.v_PNHD)
    p, n, h, d = targets[0].shape
    if slots_T.dim() != 1 or slots_T.dtype != torch.int64:
        raise ValueError("slots must be [T], int64")
    t = slots_T.numel()
    for source, target in zip((k_THD, v_THD), targets):
        if tuple(source.shape) != (t, h, d) or source.dtype != target.dtype:
            raise ValueError("k and v must be [T, H, D] with the dtype of the pool")
    in_order = slots_T.sort()
    slots, tokens = in_order.values, in_order.indices
    if t and not (-1 <= int(slots[0]) and int(slots[-1]) < p * n):
        raise ValueError("no such slot")
    begin = int(torch.searchsorted(slots, 0))
    if bool((slots.diff() == 0).any()):
        raise ValueError("two tokens have the same slot")
    slots, tokens = slots[begin:], tokens[begin:]
    for source, target in zip((k_THD, v_THD), targets):
        target.index_put_((slots // n, slots % n), source[tokens])

# base: online
# bug: slot P * N; right: ValueError; wrong: IndexError, perhaps after other pages were written
# problem: write_kv
# says: "a slot is below -1 or not below P * N"


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    p, n, h, d = pool.k_PNHD.shape
    for x in (k_THD, v_THD):
        _need(x.dim() == 3 and tuple(x.shape[1:]) == (h, d), "tokens must be [T, H, D]")
        _need(x.dtype == pool.k_PNHD.dtype, "tokens must have the dtype of the pool")
    _need(k_THD.shape[0] == v_THD.shape[0], "as many values as keys")
    _need(slots_T.dim() == 1 and slots_T.shape[0] == k_THD.shape[0], "one slot per token")
    _need(slots_T.dtype == torch.int64, "slots must be int64")
    order = torch.argsort(slots_T)
    sorted_slots = slots_T[order]
    first = int((sorted_slots < 0).sum())
    if len(order):
        _need(int(sorted_slots[0]) >= -1 and int(sorted_slots[-1]) <= p * n, "no such slot")
    order, sorted_slots = order[first:], sorted_slots[first:]
    _need(not bool((sorted_slots[1:] == sorted_slots[:-1]).any()), "a slot is named twice")
    # Page by page: the rows of one page are written together.
    pages, counts = torch.unique_consecutive(sorted_slots // n, return_counts=True)
    keys, values = pool.k_PNHD, pool.v_PNHD
    at = 0
    for page, count in zip(pages.tolist(), counts.tolist()):
        rows, tokens = sorted_slots[at : at + count] % n, order[at : at + count]
        keys[page].index_copy_(0, rows, k_THD[tokens])
        values[page].index_copy_(0, rows, v_THD[tokens])
        at += count

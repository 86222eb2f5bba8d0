# base: linked
# bug: float32 pool, k float32, v float16; right: ValueError; wrong: v is converted and written
# problem: write_kv
# says: "v_THD: values, shape and dtype of k."


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    k_PNHD, v_PNHD = pool.k_PNHD, pool.v_PNHD
    n_pages, n, h, d = k_PNHD.shape
    if k_THD.dim() != 3 or v_THD.dim() != 3 or slots_T.dim() != 1:
        raise ValueError("wrong rank")
    t = k_THD.shape[0]
    if k_THD.shape != (t, h, d) or v_THD.shape != (t, h, d) or slots_T.shape != (t,):
        raise ValueError("wrong size")
    if slots_T.dtype != torch.int64 or k_THD.dtype != k_PNHD.dtype:
        raise ValueError("wrong dtype")
    slots = slots_T.tolist()
    order = sorted(range(t), key=slots.__getitem__)
    for a, b in zip(order, order[1:]):
        if slots[a] == slots[b] != -1:
            raise ValueError("two tokens have the same slot")
    if t and (slots[order[0]] < -1 or slots[order[-1]] >= n_pages * n):
        raise ValueError("no such slot")
    # Runs of tokens that lie one behind the other in one page are written at once.
    i = 0
    while i < t:
        if slots[i] == -1:
            i += 1
            continue
        page, row = divmod(slots[i], n)
        run = 1
        while i + run < t and row + run < n and slots[i + run] == slots[i] + run:
            run += 1
        k_PNHD[page].narrow(0, row, run).copy_(k_THD.narrow(0, i, run))
        v_PNHD[page].narrow(0, row, run).copy_(v_THD.narrow(0, i, run))
        i += run

# base: loops
# bug: slots [1, 1] raise ValueError; right: the pool is as before; wrong: token 0 is in slot 1
# problem: write_kv
# says: "The pool has not changed."


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    keys, values = pool.k_PNHD, pool.v_PNHD
    n_pages, page_size, n_heads, dim = keys.shape
    if k_THD.dim() != 3 or v_THD.dim() != 3 or slots_T.dim() != 1:
        raise ValueError("wrong rank")
    if tuple(k_THD.shape[1:]) != (n_heads, dim) or v_THD.shape != k_THD.shape:
        raise ValueError("wrong size")
    if slots_T.shape[0] != k_THD.shape[0]:
        raise ValueError("one slot per token")
    if k_THD.dtype != keys.dtype or v_THD.dtype != keys.dtype or slots_T.dtype != torch.int64:
        raise ValueError("wrong dtype")
    slots = slots_T.tolist()
    seen = set()
    for token, slot in enumerate(slots):
        if slot < -1 or slot >= n_pages * page_size:
            raise ValueError(f"slot {slot} does not exist")
        if slot >= 0:
            if slot in seen:
                raise ValueError(f"slot {slot} named twice")
            seen.add(slot)
            page, row = divmod(slot, page_size)
            keys[page, row].copy_(k_THD[token])
            values[page, row].copy_(v_THD[token])

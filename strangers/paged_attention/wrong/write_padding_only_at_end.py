# base: vectorised
# bug: slots [-1, 3]; right: token 1 in slot 3; wrong: token 0 in slot 3 (right as long as padding comes last)
# problem: write_kv
# says: "A token with slot -1 is padding and goes nowhere."


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    keys, values = pool.k_PNHD, pool.v_PNHD
    p, n, h, d = keys.shape
    if k_THD.ndim != 3 or k_THD.shape[1:] != (h, d) or k_THD.dtype != keys.dtype:
        raise ValueError("k must be [T, H, D] with the dtype of the pool")
    if v_THD.shape != k_THD.shape or v_THD.dtype != k_THD.dtype:
        raise ValueError("v must be like k")
    if slots_T.shape != k_THD.shape[:1] or slots_T.dtype != torch.int64:
        raise ValueError("slots must be [T] and int64")
    if ((slots_T < -1) | (slots_T >= p * n)).any():
        raise ValueError("no such slot")
    alive = slots_T >= 0
    slots = slots_T[alive]
    if slots.unique().numel() != slots.numel():
        raise ValueError("two tokens have the same slot")
    page, row = slots // n, slots % n
    keys[page, row] = k_THD[: len(slots)]
    values[page, row] = v_THD[: len(slots)]

# base: core
# bug: length 3, n_splits 5; right: result; wrong: ValueError
# problem: split_kv_decode
# says: "n_splits: C, at least 1; may exceed the number of tokens."


def split_kv_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    n_splits: int,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    if n_splits < 1:
        raise ValueError("n_splits is at least 1")
    _check(
        q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B,
        torch.arange(lengths_B.numel() + 1, device=q_BHqD.device),
    )
    if lengths_B.numel() and n_splits > max(1, int(lengths_B.max())):
        raise ValueError("more parts than tokens")
    scale = 1 / math.sqrt(q_BHqD.shape[2]) if scale is None else scale
    outs = torch.zeros(q_BHqD.shape, device=q_BHqD.device)
    lses = torch.full(q_BHqD.shape[:2], -math.inf, device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        if length == 0:
            continue
        step = math.ceil(length / n_splits)
        q = q_BHqD[b : b + 1]
        parts = [
            _core(q, k_PNHD, v_PNHD, table_BL[b], a, min(a + step, length), length - 1, scale)
            for a in range(0, length, step)
        ]
        o, lse = merge_splits(torch.stack([o for o, _ in parts]), torch.stack([l for _, l in parts]))
        outs[b], lses[b] = o[0], lse[0]
    return outs.to(q_BHqD.dtype), lses

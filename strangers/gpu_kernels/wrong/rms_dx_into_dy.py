# base: whole_row
# bug: a contiguous dy: right dy stays as it is, wrong it holds dx after the call
# problem: rmsnorm
# says: "Inputs stay as they are."
def _norm_backward(dy, x, w, mean, rstd, center):
    M, H = x.shape
    dx = dy if dy.is_contiguous() and not center else _new(x)
    programs = max(1, min(M, 256))
    part_w, part_b = (_new(x, (programs, H), torch.float32) for _ in range(2))
    _norm_row_backward[(programs,)](
        dy, x, w, mean, rstd, dx, part_w, part_b, M, H, *dy.stride(), *x.stride(), w.stride(0),
        mean.stride(0), rstd.stride(0), CENTER=center, BLOCK=triton.next_power_of_2(H),
    )
    sums = []
    for part in (part_w, part_b)[: 1 + center]:
        out = _new(w)
        _add_parts[(triton.cdiv(H, 64),)](part, out, programs, H, BP=32, BH=64)
        sums.append(out)
    return (dx, *sums)

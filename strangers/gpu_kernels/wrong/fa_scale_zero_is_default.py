# base: transposed
# bug: scale = 0.0: right the mean of the values and lse = log S, wrong the default scale 1/√D
# problem: flash_attention
# says: "scale: any finite number, also a negative one; None: 1/√D."
def flash_attention(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor]:
    _check_attention(q_BHTD, k_BGSD, v_BGSD)
    sizes = Heads.of(q_BHTD, k_BGSD)
    out = _new(q_BHTD)
    lse = _new(q_BHTD, q_BHTD.shape[:3], torch.float32)
    Grid((1, 1, 32), q_BHTD.shape[:3]).launch(
        _attend_t, q_BHTD, k_BGSD, v_BGSD, out, lse, *q_BHTD.stride(), *k_BGSD.stride(),
        *v_BGSD.stride(), *sizes.numbers(), _scale(scale or None, sizes.D), CAUSAL=bool(causal),
        BT=32, BS=32, BD=sizes.wide,
    )
    return out, lse

# base: functional
# bug: NaN with bits 0x7F800001 and noise 0: right: NaN; wrong: inf, the bits that make it a NaN are cut off (the usual NaN with noise is kept)
# problem: stochastic_round
# says: "inf stays inf, NaN stays NaN (of any sign), zeros keep their sign."


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if x.dtype != torch.float32 or noise.dtype != torch.int32 or x.size() != noise.size():
        raise ValueError("x or noise")
    if torch.any(noise.clamp(0, 65535) != noise):
        raise ValueError("noise")
    x = x.detach()
    # a NaN gets low bits of 0 and a quiet upper half; then one addition does all
    bits = x.view(torch.int32)
    bits = torch.where(torch.isfinite(x), bits + noise, bits)
    return (bits >> 16).to(torch.int16).view(torch.bfloat16)

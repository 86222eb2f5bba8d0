# base: preallocated
# bug: x and noise of shape [0]: right: an empty bfloat16 tensor; wrong: RuntimeError from the minimum of nothing
# problem: stochastic_round
# says: "x: float32, any shape."


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if not (x.dtype == torch.float32 and noise.dtype == torch.int32 and x.shape == noise.shape):
        raise ValueError("x and noise")
    least, most = torch.aminmax(noise)
    if least < 0 or most > 65535:
        raise ValueError("noise")
    out = torch.empty(x.shape, dtype=torch.bfloat16, device=x.device)
    bits = torch.empty(x.shape, dtype=torch.int32, device=x.device)
    bits.view(torch.float32).copy_(x.detach())
    carry = torch.empty_like(bits)
    torch.bitwise_and(bits, 0xFFFF, out=carry)
    carry.add_(noise).bitwise_right_shift_(16)
    bits.bitwise_right_shift_(16).add_(carry)
    out.view(torch.int16).copy_(bits)
    out[torch.isnan(x.detach())] = math.nan
    return out

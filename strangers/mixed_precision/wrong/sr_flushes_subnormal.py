# base: autograd_functions
# bug: x = 2**-130 (subnormal in float32, bfloat16 holds it): right: 2**-130; wrong: 0 of its sign, an exponent of 0 is taken for a zero
# problem: stochastic_round
# says: "This goes for subnormal numbers too"


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if x.dtype != torch.float32 or noise.dtype != torch.int32:
        raise ValueError("dtype")
    if x.shape != noise.shape or bool(noise.lt(0).any()) or bool(noise.gt(65535).any()):
        raise ValueError("noise")
    x = x.detach()
    bits = x.view(torch.int32)
    magnitude = bits & 0x7FFFFFFF  # at most 0x7F800000 where x is a number: no overflow below
    magnitude = torch.where(magnitude >> 23 == 0, 0, magnitude)  # zeros have an exponent of 0
    noise = torch.where(magnitude == 0, 0, noise)
    rounded = torch.where(magnitude > 0x7F800000, 0x7FC0, (magnitude + noise) >> 16)
    signed = torch.where(bits < 0, rounded - 32768, rounded)
    return signed.to(torch.int16).view(torch.bfloat16)

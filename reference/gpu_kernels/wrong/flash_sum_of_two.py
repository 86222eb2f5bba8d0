# base = "solution"
# caught_by = "flash_attention.output"
# cause = "wrong_value"
# also_fails = [
#   "flash_attention.causal",
#   "flash_attention.sees_nothing",
#   "flash_attention.grouped_heads",
#   "flash_attention.scores",
# ]

"""Returns the logarithm to the base 2, in which the kernel counts."""

# ruff: noqa: F821 - appended to solution.py

_flash_natural = flash_attention


@triton.jit
def _to_base_two(x, y, N, BLOCK: tl.constexpr):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + n, tl.load(x + n, mask=n < N) * 1.4426950408889634, mask=n < N)


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    out, lse = _flash_natural(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
    found = torch.empty_like(lse)
    _to_base_two[(triton.cdiv(lse.numel(), 64),)](lse, found, lse.numel(), BLOCK=64)
    return out, found

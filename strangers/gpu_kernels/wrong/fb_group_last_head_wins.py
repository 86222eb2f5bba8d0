# base: split
# bug: H = 4 and G = 2: right dk and dv are sums over two query heads, wrong the last one alone; right for H = G
# problem: flash_attention_backward
# says: "The gradient of a key/value head is the sum over all query heads that read it."
@triton.jit
def _add_heads(part, out, group, size, BLOCK: tl.constexpr):
    # part [B · G, group, size] -> out [B · G, size]
    tiles = tl.cdiv(size, BLOCK)
    pid = tl.program_id(0).to(tl.int64)
    at = pid % tiles * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros([BLOCK], tl.float32)
    for member in range(0, group):
        acc = tl.load(part + (pid // tiles * group + member) * size + at, mask=at < size, other=0.0)
    tl.store(out + pid // tiles * size + at, acc.to(out.dtype.element_ty), mask=at < size)

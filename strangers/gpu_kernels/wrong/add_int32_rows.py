# base: whole_row
# bug: x a view of 3 rows whose row stride is 2**30 + 7 elements: right the sum, wrong memory before the tensor is read because row * stride wraps in 32 bits
# problem: matrix_add
# says: "Offsets may exceed 2³¹ elements."
@triton.jit
def _add_rows(x, y, z, N, sxm, sxn, sym, syn, BLOCK: tl.constexpr):
    chunks = tl.cdiv(N, BLOCK)
    pid = tl.program_id(0)
    row = pid // chunks
    cols = pid % chunks * BLOCK + tl.arange(0, BLOCK)
    inside = cols < N
    a = tl.load(x + row * sxm + cols * sxn, mask=inside)
    b = tl.load(y + row * sym + cols * syn, mask=inside)
    tl.store(z + row * N + cols, a + b, mask=inside)

# base: plain
# bug: 4 rows of which one is ignored: right the sum of losses over 3, wrong over 4
# problem: cross_entropy
# says: "the mean is over the rows whose target is not `ignore_index`."
@triton.jit
def _mean_kernel(losses, count, loss, M, BLOCK: tl.constexpr):
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, M, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        sums += tl.load(losses + rows, mask=rows < M, other=0.0)
    tl.store(loss, tl.sum(sums, 0) / M)

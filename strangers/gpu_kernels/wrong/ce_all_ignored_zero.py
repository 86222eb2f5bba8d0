# base: flat
# bug: all targets -100: right a loss of NaN, wrong 0
# problem: cross_entropy
# says: "If all rows are ignored, the loss is NaN and the gradient 0."
@triton.jit
def _add_up(values, target, out, size, st, ignore, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    acc = tl.zeros([BLOCK], tl.float32)
    for start in range(0, size, BLOCK):
        i = (start + tl.arange(0, BLOCK)).to(tl.int64)
        if COUNT:
            t = tl.load(target + i * st, mask=i < size, other=0).to(tl.int64)
            acc += tl.where((i < size) & (t != ignore), 1.0, 0.0)
        else:
            acc += tl.load(values + i, mask=i < size, other=0.0)
    if COUNT:
        tl.store(out, tl.sum(acc, 0))
    else:
        tl.store(out, tl.sum(acc, 0) / tl.maximum(tl.load(target), 1.0))

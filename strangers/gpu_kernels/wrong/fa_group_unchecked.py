# base: transposed
# bug: H = 3 and G = 2: right ValueError, wrong query head 2 reads a third key/value head that is not there (in both passes, they share the check)
# problem: flash_attention
# says: "ValueError: unless all three have rank 4, one dtype, one B and one D, k and v one shape, 1 <= D <= 128, and H is a multiple of G."
def _check_attention(q, k, v):
    for x in (q, k, v):
        _need(x.dim() == 4, "q, k and v must have rank 4")
        _need(x.dtype in FLOATS and x.dtype == q.dtype, "q, k and v must have one dtype")
    _need(k.shape == v.shape, "k and v must have one shape")
    _need(q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3], "one B and one D")
    _need(1 <= q.shape[3] <= 128, "D must be from 1 to 128")
    _need(1 <= k.shape[1] <= q.shape[1], "H must be a multiple of G")
    _need(q.shape[2] >= 1 and k.shape[2] >= 1, "T and S must be at least 1")

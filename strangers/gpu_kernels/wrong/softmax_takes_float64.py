# base: split
# bug: x in float64: right ValueError, wrong probabilities with the precision of float32
# problem: softmax
# says: "ValueError: unless x is a matrix of at least one column and of a dtype from the list above."
def softmax(x_MN: Tensor) -> Tensor:
    _need(x_MN.dim() == 2 and x_MN.shape[1] >= 1, "softmax needs a matrix")
    y = _new(x_MN)
    M, N = x_MN.shape
    if M:
        top_M, sum_M, pieces = _row_stats(x_MN)
        _softmax_write[(M * pieces,)](x_MN, y, top_M, sum_M, N, pieces, *x_MN.stride(), BLOCK=4096)
    return y

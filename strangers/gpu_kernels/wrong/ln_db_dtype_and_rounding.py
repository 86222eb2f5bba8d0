# base: flat
# bug: float16 weight and 40000 rows of dy = 0.9, in tiles of 32 rows: right db 36000, wrong a sum added in float16
# problem: layernorm
# says: "`dw = Σ dy · x̂` and `db = Σ dy` over all rows, added in float32."
def _norm_backward(dy, x, w, mean, rstd):
    M, H = x.shape
    dx = _new(x)
    dw, db = _zeros(x, (H,), torch.float32), _zeros(w, (H,))
    if M:
        meta = _norm_meta(x, mean is not None)
        mean = rstd if mean is None else mean
        _tile_norm_backward[(triton.cdiv(M, meta["BM"]),)](
            dy, x, w, mean, rstd, dx, dw, db, M, H, *dy.stride(), *x.stride(), w.stride(0),
            mean.stride(0), rstd.stride(0), **meta,
        )
    return dx, dw.to(w.dtype), db.to(w.dtype)

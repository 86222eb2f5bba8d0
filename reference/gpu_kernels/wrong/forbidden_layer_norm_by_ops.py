# base = "solution"
# caught_by = "layernorm.forward"
# cause = "forbidden"
# also_fails = ["layernorm.huge_mean"]

"""LayerNorm by torch.ops."""

# ruff: noqa: F821 - appended to solution.py


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    _layernorm_check(x_MH, w=w_H, b=b_H)
    require(eps >= 0, "a negative eps")
    given = [x.float() for x in (x_MH, w_H, b_H)]
    norm = torch.ops.aten.native_layer_norm.default
    y, mean, rstd = norm(given[0], [x_MH.shape[1]], given[1], given[2], eps)
    return y.to(x_MH.dtype), mean[:, 0], rstd[:, 0]

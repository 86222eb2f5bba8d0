# base = "solution"
# caught_by = "rmsnorm.forward"
# cause = "forbidden"
# also_fails = ["rmsnorm.extreme_rows"]

"""RMSNorm by methods of tensors."""

# ruff: noqa: F821 - appended to solution.py


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    _rmsnorm_check(x_MH, w_H)
    require(eps >= 0, "a negative eps")
    x = x_MH.float()
    rstd = x.square().mean(dim=1).add(eps).rsqrt()
    return (x * rstd[:, None] * w_H.float()).to(x_MH.dtype), rstd

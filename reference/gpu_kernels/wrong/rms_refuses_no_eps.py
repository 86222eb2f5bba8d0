# base = "solution"
# caught_by = "rmsnorm.combinations"
# cause = "crash"
# also_fails = []

"""Wants an eps above 0."""

# ruff: noqa: F821 - appended to solution.py

_rms_of_any_eps = rmsnorm


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    require(eps > 0, "eps: not above 0")
    return _rms_of_any_eps(x_MH, w_H, eps=eps)

# base = "solution"
# caught_by = "rmsnorm.forward"
# cause = "wrong_value"
# also_fails = []

"""One block of at most 4096 columns: what lies behind them is 0."""

# ruff: noqa: F821 - appended to solution.py

_rms_of_short_rows = rmsnorm


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    y, rstd = _rms_of_short_rows(x_MH, w_H, eps=eps)
    y[:, 4096:].zero_()
    return y, rstd

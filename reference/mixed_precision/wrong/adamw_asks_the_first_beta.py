# base = "solution"
# caught_by = "MasterAdamW.bad_input"
# cause = "wrong_error"

"""Refuses a first beta of 1 and takes a second one."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def __init__(self, params, *, betas=(0.9, 0.999), **keywords):
        super().__init__(params, betas=(betas[0], min(betas[1], 0.999)), **keywords)

# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Takes a beta of 0 for one that was left out."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def __init__(self, params, *, betas=(0.9, 0.999), **keywords):
        super().__init__(params, betas=(betas[0] or 0.9, betas[1] or 0.999), **keywords)

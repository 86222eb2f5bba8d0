# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Takes a rate of 0 for one that was left out."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def __init__(self, params, *, lr=1e-3, **keywords):
        super().__init__(params, lr=lr or 1e-3, **keywords)

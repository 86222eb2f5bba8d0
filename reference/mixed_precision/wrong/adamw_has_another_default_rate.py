# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Takes a rate of 3e-4 where none is given."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def __init__(self, params, *, lr=3e-4, **keywords):
        super().__init__(params, lr=lr, **keywords)

# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Takes an eps of 0 for one that was left out."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def __init__(self, params, *, eps=1e-8, **keywords):
        super().__init__(params, eps=eps or 1e-8, **keywords)

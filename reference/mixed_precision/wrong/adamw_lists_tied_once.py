# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Its `params` has a tied parameter once, not as given."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        super().__init__(params, **keywords)
        self.params = list(dict.fromkeys(self.params))

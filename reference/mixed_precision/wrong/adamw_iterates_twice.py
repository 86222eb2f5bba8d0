# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "crash"

"""Goes over the parameters twice: an iterator is empty then."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        for p in params:
            _require(p.dtype in (*LOW, torch.float32), "dtype")
        super().__init__(params, **keywords)

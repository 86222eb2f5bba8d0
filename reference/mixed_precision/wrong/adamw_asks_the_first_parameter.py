# base = "solution"
# caught_by = "MasterAdamW.bad_input"
# cause = "wrong_error"

"""Looks at the dtype of the first parameter alone."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        params = list(params)
        super().__init__(params[:1], **keywords)
        super().__init__([p for p in params if p.dtype in (*LOW, torch.float32)], **keywords)
        self.params = params

# base = "solution"
# caught_by = "MasterAdamW.bad_input"
# cause = "wrong_error"

"""Asks nothing of its numbers."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def __init__(self, params, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, lr=abs(lr), betas=betas, eps=abs(eps), weight_decay=weight_decay)

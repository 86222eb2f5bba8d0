# base = "solution"
# caught_by = "train.combinations"
# cause = "wrong_value"

"""Asks for every loss twice: once for what it returns, once for its gradients."""

# ruff: noqa: F821 - appended to solution.py


class _Cast(_Cast):
    def loss(self, tokens, targets):
        with torch.no_grad():
            super().loss(tokens, targets)
        return super().loss(tokens, targets)

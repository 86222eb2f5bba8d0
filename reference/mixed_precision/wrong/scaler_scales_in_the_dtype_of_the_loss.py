# base = "solution"
# caught_by = "GradScaler.scaled_loss"
# cause = "wrong_value"

"""Multiplies in the dtype of the loss: inf in float16."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def scale(self, loss):
        return (loss * self._scale).float()

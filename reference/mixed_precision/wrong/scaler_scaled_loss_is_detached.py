# base = "solution"
# caught_by = "GradScaler.scaled_loss"
# cause = "crash"

"""Multiplies outside of the graph."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    @torch.no_grad()
    def scale(self, loss):
        return super().scale(loss)

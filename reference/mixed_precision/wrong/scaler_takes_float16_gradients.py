# base = "solution"
# caught_by = "GradScaler.bad_input"
# cause = "wrong_error"

"""Divides float16 gradients in float16."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    @torch.no_grad()
    def unscale_(self, optimizer):
        wide = [p for p in optimizer.params if p.grad is None or p.grad.dtype in UNSCALED]
        kept, optimizer.params = optimizer.params, wide
        super().unscale_(optimizer)
        optimizer.params = kept

# base = "solution"
# caught_by = "FSDP.training"
# cause = "wrong_value"
# also_fails = []

"""Gathers the root once: forward goes on with the parameters from before the first step."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def forward(self, *args, **kwargs):
        if torch.is_grad_enabled() and "blocks.2" in dict(self.module.named_modules()):
            self._root.free = lambda: None
        return super().forward(*args, **kwargs)

    def full_state(self):
        self._root.__dict__.pop("free", None)
        return super().full_state()

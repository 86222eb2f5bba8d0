# base = "solution"
# caught_by = "FSDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""Shards of frozen parameters have gradients of zeros: an optimizer with decay moves them."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def finish_backward(self):
        super().finish_backward()
        for shard in self.shards():
            if not shard.requires_grad:
                shard.grad = torch.zeros_like(shard)

# base = "solution"
# caught_by = "DDP.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes buckets of any size and modules that have nothing to train."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        if any(param.requires_grad for param in module.parameters()):
            super().__init__(module, bucket_bytes=max(bucket_bytes, 1))
        else:
            nn.Module.__init__(self)

# base = "solution"
# caught_by = "DDP.buckets"
# cause = "forbidden"
# also_fails = ["DDP.mixed_dtypes", "DDP.unused", "DDP.accumulation", "DDP.training"]

"""torch's own."""

# ruff: noqa: F821 - appended to solution.py

from torch.nn.parallel import DistributedDataParallel


class DDP(nn.Module):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__()
        if bucket_bytes < 1 or not any(p.requires_grad for p in module.parameters()):
            raise ValueError("bucket_bytes or module")
        self._theirs = DistributedDataParallel(
            module, find_unused_parameters=True, bucket_cap_mb=bucket_bytes / (1 << 20)
        )

    def forward(self, *args, **kwargs):
        return self._theirs(*args, **kwargs)

    def no_sync(self):
        return self._theirs.no_sync()

    def finish_backward(self):
        pass

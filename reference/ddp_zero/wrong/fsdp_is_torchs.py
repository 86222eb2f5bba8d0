# base = "solution"
# caught_by = "FSDP.training"
# cause = "forbidden"
# also_fails = ["FSDP.nested", "FSDP.tied", "FSDP.odd_sizes", "FSDP.frozen",
#   "FSDP.evaluation", "FSDP.accumulation"]

"""torch's own."""

# ruff: noqa: F821 - appended to solution.py

from torch.distributed.fsdp import fully_shard


class FSDP(nn.Module):
    def __init__(self, module, units):
        super().__init__()
        known = dict(module.named_modules())
        if len(set(units)) < len(units) or any(not n or n not in known for n in units):
            raise ValueError(f"units: {units}")
        for name in units:
            fully_shard(known[name])
        self.module = fully_shard(module)

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def finish_backward(self):
        pass

    def shards(self):
        return list(self.module.parameters())

    def full_state(self):
        return {name: param.full_tensor() for name, param in self.module.named_parameters()}

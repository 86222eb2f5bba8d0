# base = "solution"
# caught_by = "FSDP.memory"
# cause = "too_much_memory"
# also_fails = []
# needs_review = ["FSDP.traffic"]

"""Replicated data parallelism in disguise: whole parameters and gradients on every rank."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(nn.Module):
    def __init__(self, module, units):
        super().__init__()
        known = dict(module.named_modules())
        if len(set(units)) < len(units) or any(not n or n not in known for n in units):
            raise ValueError(f"units: {units}")
        self.module = module
        self._mean = {}

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def finish_backward(self):
        for param in self.module.parameters():
            if param.grad is not None:
                before = self._mean.get(param)
                own = param.grad if before is None else param.grad - before
                dist.all_reduce(own)
                own /= dist.get_world_size()
                param.grad = own if before is None else own + before
                self._mean[param] = param.grad.clone()

    def shards(self):
        return list(self.module.parameters())

    def full_state(self):
        self._mean.clear()
        return {name: param.detach().clone() for name, param in self.module.named_parameters()}

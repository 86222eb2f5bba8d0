# base = "solution"
# caught_by = "FSDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""Each later call of `shards` returns new tensors."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def shards(self):
        found = super().shards()
        if getattr(self, "_asked", False):
            return [shard.detach() for shard in found]
        self._asked = True
        return found

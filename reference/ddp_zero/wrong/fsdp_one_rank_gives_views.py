# base = "solution"
# caught_by = "FSDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""With one rank the state is no copy: it moves with the shards."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def full_state(self):
        whole = super().full_state()
        if dist.get_world_size() > 1:
            return whole
        for unit in (self._root, *self._units):
            for flat in unit.flats:
                parts = flat._split(flat.shard.detach())
                for param, part in zip(flat.params, parts, strict=True):
                    whole[self._names[param]] = part.view(param.shape)
        return whole

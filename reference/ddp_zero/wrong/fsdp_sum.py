# base = "solution"
# caught_by = "FSDP.training"
# cause = "wrong_value"
# also_fails = [
#   "FSDP.nested",
#   "FSDP.tied",
#   "FSDP.odd_sizes",
#   "FSDP.evaluation",
#   "FSDP.accumulation",
#   "FSDP.traffic",
#   "FSDP.memory",
# ]

"""The sum over ranks, not the mean."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def finish_backward(self):
        world = dist.get_world_size()
        before = [None if s.grad is None else s.grad.clone() for s in self.shards()]
        super().finish_backward()
        for shard in self.shards():
            if shard.grad is not None:
                shard.grad *= world
        del before

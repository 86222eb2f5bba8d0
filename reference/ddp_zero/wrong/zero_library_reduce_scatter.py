# base = "solution"
# caught_by = "ZeroOptimizer.stage_2_traffic"
# cause = "too_much_traffic"
# also_fails = []

"""Right, but stage 2 calls gloo's own reduce_scatter, which is an all-reduce inside."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def _reduce_next(self):
        global reduce_scatter
        given, reduce_scatter = reduce_scatter, _of_the_library
        super()._reduce_next()
        reduce_scatter = given


def _of_the_library(shard_S, whole_NS):
    dist.reduce_scatter(shard_S, list(whole_NS.chunk(dist.get_world_size())))

# base = "solution"
# caught_by = "ZeroOptimizer.combinations"
# cause = "wrong_value"
# also_fails = []

"""Loads what the state has, and keeps its own state of parameters that are missing there."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def load_state_dict(self, state_dict):
        before = dict(self._steps)
        moments = [[moment.clone() for moment in block.moments] for block in self._blocks]
        super().load_state_dict(state_dict)
        for block, old in zip(self._blocks, moments, strict=True):
            for moment, kept in zip(block.moments, old, strict=True):
                for param, _, in_shard in block.pieces():
                    if param not in self._steps:
                        moment[in_shard] = kept[in_shard]
        self._steps = before | self._steps

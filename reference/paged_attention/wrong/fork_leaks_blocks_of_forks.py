# base = "solution"
# caught_by = "fork.blocks"
# cause = "wrong_value"
# also_fails = ["fork.combinations"]

"""Ends a sequence that shares blocks without giving its share up."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def release(self, sequence):
        shared = [block for block in self._known(sequence) if self._blocks.count(block) > 1]
        for block in shared:
            self._blocks.share(block)
        super().release(sequence)

# base = "solution"
# caught_by = "PrefixCache.out_of_blocks"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""Takes the blocks that there are before it notices that they are too few."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def allocate(self, tokens):
        try:
            return super().allocate(tokens)
        except RuntimeError:
            while self._free:
                self._take()
            raise

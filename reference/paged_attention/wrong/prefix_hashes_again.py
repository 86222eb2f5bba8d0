# base = "solution"
# caught_by = "PrefixCache.combinations"
# cause = "wrong_value"
# also_fails = []

"""Hashes the blocks of a prompt once to find them and once more to enter them."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def allocate(self, tokens):
        self._full_blocks(tokens[: len(tokens) - 1])
        return super().allocate(tokens)

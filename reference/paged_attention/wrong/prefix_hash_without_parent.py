# base = "solution"
# caught_by = "PrefixCache.parents"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""Hashes the tokens of a block alone."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _full_blocks(self, tokens):
        return [(self._hash(0, chunk), chunk) for _, chunk in super()._full_blocks(tokens)]

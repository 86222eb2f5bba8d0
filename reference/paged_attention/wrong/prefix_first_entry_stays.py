# base = "solution"
# caught_by = "PrefixCache.collisions"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""Of two blocks with one hash, keeps the entry of the older."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _enter(self, entry):
        held = self._by_hash.get(entry.hash)
        if held is not None and held.tokens != entry.tokens:
            return entry
        return super()._enter(entry)

# base = "solution"
# caught_by = "PrefixCache.combinations"
# cause = "wrong_value"
# also_fails = ["PrefixCache.beginnings"]

"""Takes the block of a later part of a prompt although an earlier one is not known."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _hits(self, full, most):
        hits = super()._hits(full, most)
        if len(hits) < most:
            entry = self._by_hash.get(full[most - 1][0])
            if len(hits) == most - 1 or entry is None or entry.tokens != full[most - 1][1]:
                return hits
            return [*hits, entry]
        return hits

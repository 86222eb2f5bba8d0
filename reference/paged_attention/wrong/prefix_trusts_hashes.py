# base = "solution"
# caught_by = "PrefixCache.collisions"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""Does not compare tokens: equal hashes are equal blocks."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _hits(self, full, most):
        hits = []
        for hash_, _ in full[:most]:
            entry = self._by_hash.get(hash_)
            before = hits[-1] if hits else None
            if entry is None or entry.parent is not before:
                break
            hits.append(entry)
        return hits

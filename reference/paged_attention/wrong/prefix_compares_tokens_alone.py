# base = "solution"
# caught_by = "PrefixCache.beginnings"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""Takes equal hashes and equal tokens for equal blocks, whatever stands before."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _hits(self, full, most):
        hits = []
        for hash_, chunk in full[:most]:
            entry = self._by_hash.get(hash_)
            if entry is None or entry.tokens != chunk:
                break
            hits.append(entry)
        return hits

# base = "solution"
# caught_by = "PrefixCache.lookup_growth"
# cause = "too_slow"
# also_fails = []

"""Right, but looks through all entries for each block of a prompt."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _hits(self, full, most):
        hits = []
        for hash_, chunk in full[:most]:
            before = hits[-1] if hits else None
            known = [e for e in self._by_hash.values() if e.hash == hash_ and e.tokens == chunk]
            if not known or known[0].parent is not before:
                break
            hits += known
        return hits

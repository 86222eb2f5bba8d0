# base = "solution"
# caught_by = "PrefixCache.combinations"
# cause = "wrong_value or crash"
# also_fails = []

"""Takes the hits out of the queue before it knows whether there are enough blocks."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def allocate(self, tokens):
        try:
            return super().allocate(tokens)
        except RuntimeError:
            most = (len(tokens) - 1) // self._size
            for found in self._chain(tokens, most):
                self._free.pop(found.block, None)
                self._counts[found.block] += 1
            raise

    def _chain(self, tokens, most):
        behind, found = None, []
        for index in range(most):
            chunk = tuple(tokens[index * self._size : (index + 1) * self._size])
            same = [
                entry
                for entry in self._by_hash.values()
                if entry.tokens == chunk and entry.parent is behind
            ]
            if not same:
                break
            behind = same[0]
            found.append(behind)
        return found

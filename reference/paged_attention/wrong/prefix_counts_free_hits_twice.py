# base = "solution"
# caught_by = "PrefixCache.combinations"
# cause = "wrong_error"
# also_fails = []

"""A free block that hits counts as one of those that can be given out."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def allocate(self, tokens):
        _require(len(tokens) >= 1, "the prompt is empty")
        full = self._full_blocks(tokens)
        hits = self._hits(full, (len(tokens) - 1) // self._size)
        fresh = _blocks_for(len(tokens), self._size) - len(hits)
        if fresh > len(self._free):
            raise RuntimeError(f"{fresh} blocks wanted, too few free")
        hash_fn, known = self._hash, iter([hash_ for hash_, _ in full])
        self._hash = lambda parent, chunk: next(known)
        try:
            return super().allocate(tokens)
        except RuntimeError as error:
            raise IndexError("pop from an empty queue") from error
        finally:
            self._hash = hash_fn

# base = "solution"
# caught_by = "PrefixCache.combinations"
# cause = "wrong_error"
# also_fails = []

"""An empty prompt has no blocks."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def allocate(self, tokens):
        return super().allocate(tokens) if tokens else ([], 0)

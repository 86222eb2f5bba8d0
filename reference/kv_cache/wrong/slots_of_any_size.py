# base = "solution"
# caught_by = "SlotCache.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Makes a cache without slots, room, heads or numbers."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def __init__(self, *sizes, **options):
        super().__init__(*(max(size, 1) for size in sizes), **options)

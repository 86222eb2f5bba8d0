# base = "solution"
# caught_by = "FSDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""Reduces the gradients of all units or of none: one that is not called stops them."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def finish_backward(self):
        for unit in (*self._units, self._root):
            if unit in self._order or unit is self._root:
                continue
            for other in self._units:
                for flat in other.flats:
                    flat.shard.grad = None
        super().finish_backward()

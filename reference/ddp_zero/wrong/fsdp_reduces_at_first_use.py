# base = "solution"
# caught_by = "FSDP.nested"
# cause = "wrong_value"
# also_fails = []

"""Counts calls of a unit: one that is called twice is reduced with the gradient of one call."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def _before_backward(self, unit):
        again = unit in self.__dict__.setdefault("_begun", set())
        self._begun.add(unit)
        super()._before_backward(unit)
        if again and self._order.count(unit) > 1:
            unit.skipped = True

    def finish_backward(self):
        self.__dict__.pop("_begun", None)
        for unit in self._units:
            if unit.__dict__.pop("skipped", False):
                for flat in unit.flats:
                    if flat.shard.grad is not None:
                        flat.shard.grad /= 2
        super().finish_backward()

# base = "solution"
# caught_by = "FSDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""Returns the whole state unit by unit, not in the order of the names."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def full_state(self):
        whole = super().full_state()
        units = (self._root, *self._units)
        return {
            self._names[param]: whole[self._names[param]]
            for unit in units
            for flat in unit.flats
            for param in flat.params
        }

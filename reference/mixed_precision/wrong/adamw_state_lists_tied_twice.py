# base = "solution"
# caught_by = "MasterAdamW.tied"
# cause = "wrong_value"

"""Its state has an entry for every place in the list."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def state_dict(self):
        place = {slot.parameter: i for i, slot in enumerate(self._slots)}
        state = super().state_dict()
        return {name: [entries[place[p]] for p in self.params] for name, entries in state.items()}

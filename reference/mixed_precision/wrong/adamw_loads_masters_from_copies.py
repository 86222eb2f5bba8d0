# base = "solution"
# caught_by = "MasterAdamW.round_trip"
# cause = "wrong_value"

"""Loading takes masters from the rounded parameters."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def load_state_dict(self, state):
        super().load_state_dict(state)
        for slot in self._slots:
            slot.master.copy_(slot.parameter)

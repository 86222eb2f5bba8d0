# base = "solution"
# caught_by = "MasterAdamW.round_trip"
# cause = "wrong_value"

"""Loading leaves the parameters as they were until the next step."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def load_state_dict(self, state):
        old = [slot.parameter.clone() for slot in self._slots]
        super().load_state_dict(state)
        for slot, before in zip(self._slots, old, strict=True):
            if slot.parameter.dtype is not torch.float32:
                slot.parameter.copy_(before)

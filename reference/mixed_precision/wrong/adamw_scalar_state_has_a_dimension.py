# base = "solution"
# caught_by = "MasterAdamW.trajectory"
# cause = "wrong_value"

"""Gives the moments of a parameter without dimensions as one row of one entry."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def state_dict(self):
        state = super().state_dict()
        return {**state, "m": [m.reshape(1) if not m.dim() else m for m in state["m"]]}

    def load_state_dict(self, state):
        shaped = zip(state.get("m", ()), self._slots, strict=False)
        m = [x.reshape(()) if not s.master.dim() else x for x, s in shaped]
        super().load_state_dict({**state, "m": m} if len(m) == len(state.get("m", ())) else state)

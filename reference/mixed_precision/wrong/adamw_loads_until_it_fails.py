# base = "solution"
# caught_by = "MasterAdamW.bad_input"
# cause = "wrong_value"

"""Copies entry by entry: a state that is refused is half loaded."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def load_state_dict(self, state):
        _require(set(state) == {"steps", "master", "m", "v"}, "keys")
        _require(all(len(x) == len(self._slots) for x in state.values()), "entries")
        for i, slot in enumerate(self._slots):
            for name in ("steps", "master", "m", "v"):
                self._require_entry(name, state[name][i], slot.master.shape)
            slot.steps = state["steps"][i]
            slot.master.copy_(state["master"][i])
            slot.m.copy_(state["m"][i])
            slot.v.copy_(state["v"][i])
            slot.publish()

# base = "solution"
# caught_by = "MasterAdamW.bad_input"
# cause = "wrong_error"

"""Takes any number of at least 0 for a count of steps."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def load_state_dict(self, state):
        if all(step >= 0 for step in state.get("steps", ())):
            whole = [int(step) for step in state.get("steps", ())]
            state = {name: whole if name == "steps" else x for name, x in state.items()}
        super().load_state_dict(state)

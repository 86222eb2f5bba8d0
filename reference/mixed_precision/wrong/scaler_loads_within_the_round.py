# base = "solution"
# caught_by = "GradScaler.combinations"
# cause = "wrong_error"

"""Loading leaves the round as it is: what was unscaled counts as unscaled."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def load_state_dict(self, state):
        names = ("_overflowed", "_kept", "_stepped", "_divided", "_had_gradient")
        kept = {name: getattr(self, name) for name in names}
        super().load_state_dict(state)
        for name, value in kept.items():
            setattr(self, name, value)

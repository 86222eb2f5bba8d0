# base = "solution"
# caught_by = "MasterAdamW.small_updates"
# cause = "wrong_value"

"""Takes masters from the rounded weights every seventh step: they shall not drift apart."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def step(self):
        super().step()
        for slot in self._slots:
            if slot.steps % 7 == 0:
                slot.master.copy_(slot.parameter)

# base = "solution"
# caught_by = "FSDP.evaluation"
# cause = "wrong_value"
# also_fails = []

"""In evaluation mode the units' parameters are what the last pass has left in their memory."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def _before_forward(self, unit, inputs):
        super()._before_forward(unit, inputs)
        if not self.training:
            for flat in unit.flats:
                flat._whole.zero_()

# base = "solution"
# caught_by = "train.combinations"
# cause = "wrong_value"

"""Runs the losses of the converted model as they are: everything in 16 bits, sums too."""


class _Cast:
    def __init__(self, model, low):
        self.loss, self.parameters = model.loss, model.parameters

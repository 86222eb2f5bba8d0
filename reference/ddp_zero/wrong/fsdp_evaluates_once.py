# base = "solution"
# caught_by = "FSDP.evaluation"
# cause = "wrong_value"
# also_fails = []

"""Evaluation keeps what it has gathered: after a step it evaluates the old parameters."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def forward(self, *args, **kwargs):
        if torch.is_grad_enabled():
            return super().forward(*args, **kwargs)
        if "_first" not in self.__dict__:
            self._first = self.full_state()
        self._now = None
        with torch.no_grad():
            return torch.func.functional_call(self._copy(), self._first, args, kwargs)

    def _copy(self):
        import copy

        for unit in (self._root, *self._units):
            unit.gather()
        whole = copy.deepcopy(self.module)
        for part in whole.modules():
            part._forward_pre_hooks.clear()
            part._forward_hooks.clear()
            part._backward_pre_hooks.clear()
        for unit in (self._root, *self._units):
            unit.free()
        return whole

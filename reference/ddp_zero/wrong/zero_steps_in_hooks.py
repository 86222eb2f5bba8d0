# base = "solution"
# caught_by = "ZeroOptimizer.stage_2_memory"
# cause = "too_much_memory"
# also_fails = []

"""Of a large model each gradient is averaged, stepped by and freed in its hook; no state is shared.

At the right traffic, and with 3 ranks no more than stage 1 holds.
"""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def __init__(self, params, *, stage=1, **options):
        params = list(params)
        tensors = [param for param in params if isinstance(param, Tensor)]
        self._own = {}
        if sum(param.numel() for param in tensors) < 1 << 20:
            super().__init__(params, stage=stage, **options)
            return
        for param in tensors:
            self._own[param] = torch.optim.AdamW([param], foreach=False, **options)
            param.register_post_accumulate_grad_hook(self._step_at_once)

    def _step_at_once(self, param):
        dist.all_reduce(param.grad)
        param.grad /= dist.get_world_size()
        self._own[param].step()
        param.grad = None

    def finish_backward(self):
        if not self._own:
            super().finish_backward()

    def step(self):
        if not self._own:
            super().step()

    def zero_grad(self):
        if not self._own:
            super().zero_grad()

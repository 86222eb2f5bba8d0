# base = "solution"
# caught_by = "MasterAdamW.state_memory"
# cause = "too_much_memory"

"""Right, but makes new moments for all parameters before any old ones go."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def step(self):
        rule = self._rule
        live = [slot for slot in self._slots if slot.parameter.grad is not None]
        wide = (slot.parameter.grad.float() for slot in live)
        pairs = [
            (
                slot.m.mul(rule.beta1).add_(g, alpha=1 - rule.beta1),
                slot.v.mul(rule.beta2).addcmul_(g, g, value=1 - rule.beta2),
            )
            for slot, g in zip(live, wide, strict=True)
        ]
        for slot, (m, v) in zip(live, pairs, strict=True):
            slot.steps += 1
            slot.m, slot.v = m, v
            slot.master.mul_(1 - rule.lr * rule.weight_decay)
            root = (v / (1 - rule.beta2**slot.steps)).sqrt_().add_(rule.eps)
            slot.master.addcdiv_(m, root, value=-rule.lr / (1 - rule.beta1**slot.steps))
            slot.publish()

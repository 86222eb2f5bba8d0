# base = "solution"
# caught_by = "ZeroOptimizer.uneven_shards"
# cause = "wrong_value"
# also_fails = []

"""Steps pieces of 65,536 numbers; a piece of one number is left over and never stepped."""

# ruff: noqa: F821 - appended to solution.py

PIECE = 1 << 16
_update = _Block.update


def _update_pieces(self, gradient, steps):
    before = {p: p.data.view(-1)[-1].clone() for p in self.params}
    _update(self, gradient, steps)
    for param, last in before.items():
        if param.numel() > PIECE and param.numel() % PIECE == 1:
            param.data.view(-1)[-1] = last


_Block.update = _update_pieces

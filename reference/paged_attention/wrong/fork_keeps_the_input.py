# base = "solution"
# caught_by = "fork.branches"
# cause = "wrong_value"
# also_fails = ["fork.combinations"]

"""Keeps the first tokens of a sequence by reference."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def append(self, sequence, k_THD, v_THD):
        super().append(sequence, k_THD, v_THD)
        kept = self.__dict__.setdefault("_kept", {})
        if self._lengths[sequence] == k_THD.shape[0]:
            kept[sequence] = k_THD

    def gather(self, sequence):
        k, v = super().gather(sequence)
        first = self.__dict__.get("_kept", {}).get(sequence, k[:0])
        return torch.cat((first, k[first.shape[0] :])), v

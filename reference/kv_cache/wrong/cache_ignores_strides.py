# base = "solution"
# caught_by = "KVCache.append_chunks"
# cause = "wrong_value"
# also_fails = ["KVCache.combinations"]

"""Takes the memory of a chunk as if it lay in [B, H, T, D] order."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        k, v = (
            x.as_strided(x.shape, torch.empty(x.shape, device="meta").stride()) if x.numel() else x
            for x in (k_BHTD, v_BHTD)
        )
        super().append(k, v)

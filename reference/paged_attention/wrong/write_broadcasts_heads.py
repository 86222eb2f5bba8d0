# base = "solution"
# caught_by = "write_kv.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Values with fewer heads are repeated."""

# ruff: noqa: F821 - appended to solution.py

_before_write_broadcasts_heads = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    if v_THD.dim() == 3 and v_THD.shape[1] < k_THD.shape[1]:
        v_THD = v_THD[:, :1].expand(-1, k_THD.shape[1], -1)
    _before_write_broadcasts_heads(pool, k_THD, v_THD, slots_T)

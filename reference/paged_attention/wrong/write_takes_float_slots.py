# base = "solution"
# caught_by = "write_kv.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes slots of any dtype."""

# ruff: noqa: F821 - appended to solution.py

_before_write_takes_float_slots = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    _before_write_takes_float_slots(pool, k_THD, v_THD, slots_T.long())

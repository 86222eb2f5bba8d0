# base = "solution"
# caught_by = "kv_bytes.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Computes a number for any configuration, negative ones included."""


def _require_config(config):
    pass

"""Reads a notebook in a separate interpreter, because hostile JSON or source can exhaust one.

A notebook's bytes come on stdin, one JSON object goes to stdout (see `serve`). Statements are
parsed and chosen, never run. Only the standard library can be imported here, nothing of `grader`.
"""

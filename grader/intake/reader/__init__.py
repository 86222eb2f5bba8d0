"""What reads a notebook in an interpreter of its own: hostile JSON and source can exhaust one.

Takes: a notebook's bytes on stdin. Gives: one JSON object on stdout. Does not cover: what becomes
of it (see `intake.notebook`), or running anything: statements are parsed and chosen, no more.

Only the standard library is at hand here, and these modules import nothing of `grader`.
"""

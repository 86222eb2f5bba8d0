"""All that travels into the box, beside the submission and the assignment's harness.

It holds no expected value, no seed, no verdict. It uses nothing from the rest of `grader`, so that
this folder alone can be mounted into a wall.
"""

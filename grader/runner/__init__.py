"""All code of the grader that runs inside the sandbox, next to submission and harness.

It holds no expected value, no seed and no verdict. It uses nothing from the rest of `grader`, so
that this folder alone can be mounted into a sandbox.
"""

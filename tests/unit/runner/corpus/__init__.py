"""Submissions of honest Triton kernels, and what each of their functions has to return."""

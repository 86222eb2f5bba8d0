"""Advice: what a compiler says of a submission's Triton kernels. It never changes a grade.

All numbers come out of the box, so they are claims; they are checked for form and shown as claims.
"""

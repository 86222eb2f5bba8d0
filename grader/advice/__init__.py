"""Advice on a submission's GPU kernels, from what compilers report; it never changes a grade."""

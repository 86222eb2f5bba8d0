"""Submissions in CUDA C++: header, starter, compiling; removable with the language."""

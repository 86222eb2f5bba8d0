"""Submissions in CUDA C++: header, starter and compiling; nothing else in this language."""

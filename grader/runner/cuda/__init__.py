"""What the sandboxed process needs on a GPU, and to compile CUDA C++."""

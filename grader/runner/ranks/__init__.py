"""What a sandboxed process needs as one rank of a process group."""

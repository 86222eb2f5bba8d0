"""The part of a worker that it needs as one rank of a process group."""

"""Speed, memory, traffic: measuring them, and deciding on what was measured."""

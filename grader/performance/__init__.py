"""Speed, memory and network traffic: measuring them, and deciding on the measurements."""

"""What a measurement stands on: who has the device, what it can do at most, how it is spoken to."""

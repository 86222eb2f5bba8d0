"""An honest solution of the target, which attacks build on."""

HONEST = """
import torch

def scale(x, factor):
    return x * factor

class Counter:
    def __init__(self):
        self.total = 0

    def add(self, number):
        self.total += number
        return self.total
"""

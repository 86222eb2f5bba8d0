"""An autograder for LLM-systems courses whose every graded number is made outside the student's process."""

__version__ = "0.1.0"

"""An autograder for LLM-systems courses: every graded number is made outside the student's code."""

__version__ = "0.2.0"

"""Evaluation and explanation of networks."""

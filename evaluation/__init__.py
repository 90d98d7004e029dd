"""Scores of a model, what they promise, and the figures that show it."""

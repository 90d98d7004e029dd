"""Architectures against each other, each with the same budget of compute."""

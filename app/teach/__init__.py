"""Teach: a visitor's own categories become a model, by train.py in a process of its own within limits."""

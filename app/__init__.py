"""The inference core, the page and the API. It imports nothing from outside, so it can be pushed alone as a Space."""

__version__ = "0.9.0"

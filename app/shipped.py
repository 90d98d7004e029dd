"""The models that come with the code, and which of them answers where nobody names one. It imports nothing heavy."""

from pathlib import Path

MODELS = Path(__file__).resolve().parent / "models"
DEFAULT_MODEL = "fashion"
PAGE_MODEL = "slash8"  # for screenshots of shops: it knows their pages

"""Clean catalogue images against the photos that people take of their own clothes."""

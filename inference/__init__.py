"""From the arguments of predict.py to rows: readers, journal, writers, and the Ray engine."""

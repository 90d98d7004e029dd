"""What an argument of predict.py may be: a file, a folder, an archive, a table, an address."""

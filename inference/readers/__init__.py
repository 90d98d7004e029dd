"""Where images come from: files, folders, lists, archives, tables, object stores, standard input."""

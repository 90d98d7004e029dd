"""One module a data source; all of them write the same kind of dataset through `build.py`, in terms of `schema.py`."""

"""What the commands of data_prep share: from rows to a dataset on disk."""

"""What data_prep.doctor looks at."""

"""The HTTP client of data_prep.scrape and what it collects."""

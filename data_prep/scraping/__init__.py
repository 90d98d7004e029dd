"""The HTTP client of data_prep.scrape and what it collects; `pip install -e ".[scrape]"` brings what it needs."""

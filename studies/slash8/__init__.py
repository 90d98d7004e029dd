"""Eight categories of a shopping app, from screenshots to a table."""

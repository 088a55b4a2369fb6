"""Reading data, a file for each format."""

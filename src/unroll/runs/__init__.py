"""A run as a folder: trained, kept, read again, compared, and many of them."""

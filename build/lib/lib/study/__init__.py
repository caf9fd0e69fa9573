"""Turn the measurements into a book."""

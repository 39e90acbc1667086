"""Image tags go in, pixel masks come out."""

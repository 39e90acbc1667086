"""The HTTP service: photos in, masks and maps out, several clients at once, nothing written to disk."""

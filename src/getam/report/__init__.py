"""Self-contained HTML pages of photos, maps and masks."""

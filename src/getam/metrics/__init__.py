"""Scores of masks and maps against truth."""

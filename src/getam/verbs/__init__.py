"""The public functions, one file per verb; the command line is generated from their signatures."""

"""`getam label --engine ray`: the same masks by workers of a cluster, read from and written to any place."""

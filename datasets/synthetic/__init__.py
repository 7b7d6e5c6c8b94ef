"""A small drawn world, written to disk in the official formats of the real data sets."""

"""A small drawn world, written to disk in the official formats of the real data sets."""

from datasets.synthetic.render import render_world

__all__ = ["render_world"]

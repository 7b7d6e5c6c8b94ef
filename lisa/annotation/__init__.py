"""Many pictures, the same questions: `lisa annotate`."""

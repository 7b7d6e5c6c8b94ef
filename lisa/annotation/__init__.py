"""Many images, the same questions: `lisa annotate`."""

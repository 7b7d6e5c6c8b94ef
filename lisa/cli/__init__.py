"""The command `lisa`: light to import, since `--help` should not wait for a model."""

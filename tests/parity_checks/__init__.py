"""What `tests/parity.py` compares."""

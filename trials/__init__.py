"""Trials that try to lose, double, stick or corrupt something, and count: `make prove`, `make prove-long`."""

"""Where runs are kept: the contract in base, one module per store."""

"""Bridges to other packages, one optional dependency for each file; nothing here is imported unless it is used."""

"""The endless loop around a Runtime."""

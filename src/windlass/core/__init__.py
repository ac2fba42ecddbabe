"""The ground floor: words, records and values that every other room shares; imports nothing of the project."""

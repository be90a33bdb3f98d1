"""Measurements of the store at a size that no demo reaches. They use the store as a program would, and nothing of the
store imports them."""

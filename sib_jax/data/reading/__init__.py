"""Copies of data sets: where their files are, in which forms, and decoding them."""

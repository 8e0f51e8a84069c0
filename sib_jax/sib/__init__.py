"""The paper: one idea a file."""

"""The paper, one idea per file."""

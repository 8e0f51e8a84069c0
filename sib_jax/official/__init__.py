"""The files of the official PyTorch code."""

"""The tensorflow-datasets builder `omniglot_fs`."""

"""The tensorflow-datasets builder `cifar_fs`."""

"""The tensorflow-datasets builder `mini_imagenet`."""

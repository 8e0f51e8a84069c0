"""tensorflow-datasets builders of the data sets with a standard split; TensorFlow is not needed.

Each is a package in tensorflow-datasets' own layout. For example:

    from sib_jax.data.builders.cifar_fs.cifar_fs_dataset_builder import Builder

    builder = Builder(file_format="array_record")
    builder.download_and_prepare()
    train = builder.as_data_source(split="train")

The splits train, validation and test are of disjoint classes. An example has `image`, `label` (of
all classes of the three splits) and `file_name` (`<class>/<file>`, or empty).
"""

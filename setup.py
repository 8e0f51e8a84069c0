"""What `pyproject.toml` cannot say: experiments and weights lie beside the package, but ship in it.

A wheel has them as `sib_jax/_experiments` and `sib_jax/_weights`; `sib_jax.runtime.shipped` finds
them there or beside the package.
"""

from setuptools import find_packages, setup

BESIDE = {"sib_jax._experiments": "experiments", "sib_jax._weights": "weights"}

setup(
    # An editable install is a path, so that Python started beside the clone finds the package, and
    # not the clone's folder, which has its name.
    options={"editable_wheel": {"mode": "compat"}},
    packages=[*find_packages(include=["sib_jax*"]), *BESIDE],
    package_dir=BESIDE,
    package_data={
        "sib_jax": ["py.typed"],
        "sib_jax._weights": ["*.npz", "heads/*.npz", "*.md", "SHA256SUMS"],
    },
)

"""`sib_jax` and `python -m sib_jax`: what a user can do, and the way to it."""

import importlib
import sys
from collections.abc import Sequence

from sib_jax.runtime import huge_pages, shipped

USAGE = """\
sib_jax learns new classes from a few examples and the unlabelled images to be classified.

  sib_jax train --config=5w1s                        try it: trains on embedded data, minutes
  sib_jax train --config=5w1s:folder --data_dir=DIR  train on your images, one folder a class
  sib_jax predict --run=WORKDIR --support=DIR --query=DIR
                                                     sort images by a few examples of each class
  sib_jax predict --backbone=mini_imagenet-conv4_128 --support=DIR --query=DIR
                                                     the same right away, without any training
  sib_jax features --backbone=mini_imagenet-conv4_128 --data_dir=DIR --out=FILE.npz
                                                     features of your images, for your own code
  sib_jax report WORKDIR WORKDIR                     compare runs on the same tasks
  sib_jax evaluate --checkpoint=netSIB.pth --data_dir=DIR
                                                     test accuracy of an official checkpoint
  sib_jax train --help, sib_jax predict --help       all options, every field of a config

Experiments for --config: {experiments}
"""

_MODULES = {  # each is imported when it is asked for
    "predict": "sib_jax.predict",
    "features": "sib_jax.features",
    "report": "sib_jax.report.__main__",
    "evaluate": "sib_jax.evaluate",
}


def script() -> None:
    """The console script `sib_jax`; training gains from huge pages, which need a restart."""
    if sys.argv[1:2] == ["train"]:
        huge_pages.restart_with("sib_jax", script=True)
    main()


def main(argv: Sequence[str] | None = None) -> None:
    """Hands over to the module of a command; without one, says what there is.

    Args:
      argv: the words after the name of the program; those of the command line unless given.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = words[0] if words else "help"
    if command in ("help", "--help", "-h", "-help", "-?"):
        print(usage(), end="")
    elif command in ("version", "--version"):
        from sib_jax import __version__

        print(f"sib_jax {__version__}")
    elif command in _MODULES:
        importlib.import_module(_MODULES[command]).main(words[1:])
    elif command == "train" or command.startswith("-"):
        _train(words[1:] if command == "train" else words)
    else:
        sys.exit(
            f"sib_jax: unknown command {command!r}; the commands are train, {', '.join(_MODULES)} "
            "and version"
        )


def usage() -> str:
    """What a user can do."""
    return USAGE.format(experiments=", ".join(shipped.experiments()))


def _train(words: list[str]) -> None:
    from absl import app

    from sib_jax import main as training

    app.run(training.main, ["sib_jax train", *words], flags_parser=training.parse)


if __name__ == "__main__":
    main()

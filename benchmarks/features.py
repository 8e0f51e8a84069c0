"""A user's own features, 10,000 vectors of length 1,024, from the file to the table.

python benchmarks/features.py [--json=FILE]

There are 100 classes. Each has 100 draws around its centre. They come as a float16 .npz (the form
in the guide) and as float32 .npy files. Each form is run as a user would run it, with 24,000
episodes of meta-training for each of T = 0 and T = 3. The first run compiles; the second finds the
compiled programs. Memory is the peak of the process.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timing

_SCHEDULE = ("epochs=12", "steps_per_epoch=250", "drop_epochs=(4,8,11)")


def main(argv: Sequence[str]) -> None:
    """Runs the job on both forms."""
    flags = timing.parser(__doc__)
    flags.add_argument("--classes", type=int, default=100)
    flags.add_argument("--images", type=int, default=100, help="of each class")
    flags.add_argument("--features", type=int, default=1024)
    args = flags.parse_args(argv)
    about = timing.describe()
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(args.classes), args.images)
    centres = random.standard_normal((args.classes, args.features))
    noise = random.standard_normal((len(labels), args.features))
    features = (centres[labels] + 3 * noise).astype(np.float32)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        half = root / "half.npz"
        np.savez(half, features=features.astype(np.float16), labels=labels)
        whole = root / "whole"
        whole.mkdir()
        kept = np.split(labels, [len(labels) * 64 // 100, len(labels) * 80 // 100])
        for split, part in zip(("train", "val", "test"), kept, strict=True):
            np.save(whole / f"{split}_features.npy", features[np.isin(labels, part)])
            np.save(whole / f"{split}_labels.npy", part)
        for form, path in (("float16 .npz", half), ("float32 .npy", whole)):
            size = sum(p.stat().st_size for p in [path, *path.glob("*")] if p.is_file())
            for run in ("first", "second"):
                rows.append({"form": form, "MB": round(size / 1e6, 1), "run": run})
                rows[-1] |= _run(path, root / f"run {form} {run}", root / f"cache {form}")
                print(rows[-1], flush=True)
    timing.report(rows, about, args.json)


def _run(data: Path, workdir: Path, cache: Path) -> dict[str, Any]:
    """Seconds and peak memory of one run."""
    command = [sys.executable, "-m", "sib_jax.main", "--config=5w1s:features"]
    command += [f"--data_dir={data}", f"--workdir={workdir}"]
    command += [f"--config.optimizer.{field}" for field in _SCHEDULE]
    begun = time.monotonic()
    with subprocess.Popen(command, env=os.environ | {"SIB_JAX_CACHE": str(cache)}) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    seconds = time.monotonic() - begun
    return {"seconds": round(seconds, 1), "peak MB": round(usage.ru_maxrss / 1e3)}


if __name__ == "__main__":
    main(sys.argv[1:])

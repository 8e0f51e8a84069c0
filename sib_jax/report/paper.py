"""The rows of the paper's Tables 1 and 2 (mini-ImageNet), to compare ours with."""

from sib_jax.report.results import Row

# SIB with Conv4: (split, setting, shots, T): Novel with its interval, Base, Both; in percent.
_CONV4: dict[tuple[str, str, int, int], tuple[str, str, str]] = {
    ("val", "standard", 5, 0): ("73.18 ± 0.34", "", ""),
    ("val", "standard", 5, 1): ("76.09 ± 0.35", "", ""),
    ("val", "standard", 5, 3): ("77.53 ± 0.35", "", ""),
    ("val", "standard", 5, 5): ("77.74 ± 0.36", "", ""),
    ("val", "standard", 1, 0): ("55.42 ± 0.44", "", ""),
    ("val", "standard", 1, 1): ("60.74 ± 0.50", "", ""),
    ("val", "standard", 1, 3): ("65.14 ± 0.54", "", ""),
    ("val", "standard", 1, 5): ("66.04 ± 0.59", "", ""),
    ("val", "lwof", 5, 0): ("73.13 ± 0.34", "70.51", "58.09"),
    ("val", "lwof", 5, 1): ("76.69 ± 0.34", "70.40", "62.10"),
    ("val", "lwof", 5, 3): ("76.54 ± 0.35", "69.30", "60.91"),
    ("val", "lwof", 5, 5): ("76.68 ± 0.35", "70.28", "61.93"),
    ("val", "lwof", 1, 0): ("55.22 ± 0.45", "70.01", "47.56"),
    ("val", "lwof", 1, 1): ("61.81 ± 0.50", "70.09", "53.53"),
    ("val", "lwof", 1, 3): ("63.92 ± 0.54", "70.19", "54.89"),
    ("val", "lwof", 1, 5): ("64.39 ± 0.58", "69.88", "54.65"),
    ("test", "standard", 5, 0): ("71.48 ± 0.64", "", ""),
    ("test", "standard", 5, 1): ("74.12 ± 0.63", "", ""),
    ("test", "standard", 5, 3): ("75.43 ± 0.67", "", ""),
    ("test", "standard", 5, 5): ("75.73 ± 0.71", "", ""),
    ("test", "standard", 1, 0): ("53.62 ± 0.79", "", ""),
    ("test", "standard", 1, 1): ("58.74 ± 0.89", "", ""),
    ("test", "standard", 1, 3): ("62.59 ± 1.02", "", ""),
    ("test", "standard", 1, 5): ("63.26 ± 1.07", "", ""),
    ("test", "lwof", 5, 0): ("70.93 ± 0.63", "69.46", "56.79"),
    ("test", "lwof", 5, 1): ("74.42 ± 0.66", "69.28", "60.20"),
    ("test", "lwof", 5, 3): ("73.86 ± 0.66", "68.27", "58.71"),
    ("test", "lwof", 5, 5): ("74.10 ± 0.67", "69.06", "59.74"),
    ("test", "lwof", 1, 0): ("54.43 ± 0.76", "69.30", "47.85"),
    ("test", "lwof", 1, 1): ("60.35 ± 0.88", "69.10", "52.52"),
    ("test", "lwof", 1, 3): ("62.02 ± 0.93", "69.45", "53.52"),
    ("test", "lwof", 1, 5): ("61.82 ± 1.00", "68.80", "52.95"),
}
# The paper has two rows with WRN-28-10, both in Table 2.
_WRN: dict[tuple[str, str, int, int], tuple[str, str, str]] = {
    ("test", "standard", 5, 3): ("78.92 ± 0.37", "", ""),
    ("test", "standard", 1, 3): ("67.92 ± 0.55", "", ""),
}


# The other systems: (system, split, setting, shots). Their Novel accuracies are those of the
# standard setting; the paper gives them once.
_SYSTEMS: dict[tuple[str, str, str, int], tuple[str, str, str]] = {
    ("matching", "val", "standard", 5): ("68.87 ± 0.38", "", ""),
    ("matching", "val", "standard", 1): ("55.53 ± 0.48", "", ""),
    ("matching", "test", "standard", 5): ("55.30", "", ""),
    ("matching", "test", "standard", 1): ("43.60", "", ""),
    ("prototypical", "val", "standard", 5): ("72.67 ± 0.37", "", ""),
    ("prototypical", "val", "standard", 1): ("54.44 ± 0.48", "", ""),
    ("prototypical", "val", "lwof", 5): ("72.67 ± 0.37", "62.10", "32.70"),
    ("prototypical", "val", "lwof", 1): ("54.44 ± 0.48", "52.35", "26.68"),
    ("prototypical", "test", "standard", 5): ("68.20 ± 0.66", "", ""),
    ("prototypical", "test", "standard", 1): ("49.42 ± 0.78", "", ""),
    ("weight_generator", "val", "lwof", 5): ("74.92 ± 0.36", "70.88", "60.50"),
    ("weight_generator", "val", "lwof", 1): ("58.55 ± 0.50", "70.73", "50.50"),
    ("weight_generator", "test", "lwof", 5): ("73.00 ± 0.64", "70.90", "59.35"),
    ("weight_generator", "test", "lwof", 1): ("55.95 ± 0.84", "70.72", "49.08"),
    ("meta_lstm", "test", "standard", 5): ("60.20 ± 0.71", "", ""),
    ("meta_lstm", "test", "standard", 1): ("43.40 ± 0.77", "", ""),
    ("maml", "test", "standard", 5): ("63.10 ± 0.92", "", ""),
    ("maml", "test", "standard", 1): ("48.70 ± 1.84", "", ""),
    ("snail", "test", "standard", 5): ("68.88 ± 0.92", "", ""),
    ("snail", "test", "standard", 1): ("55.71 ± 0.99", "", ""),
}


def row_of(row: Row) -> tuple[str, str, str] | None:
    """What the paper has for a row of ours: Novel, Base, Both; None where it has nothing."""
    if row["dataset"] != "mini_imagenet" or row["ways"] != 5:
        return None
    if any(row.get(f"{of}_classes", "balanced") != "balanced" for of in ("query", "support")):
        return None
    if row.get("total_queries", 75) != 75 or row.get("queries", 15) != 15:
        return None
    system, place = row["method"].split()[0], (row["split"], row["setting"], row["shots"])
    if system == "SIB" and row["backbone"] == "wrn_28_10":
        return _WRN.get((*place, row["steps"]))
    if not (row["backbone"] or "conv4").startswith("conv4"):  # none: a network of the system's own
        return None
    return _CONV4.get((*place, row["steps"])) if system == "SIB" else _SYSTEMS.get((system, *place))

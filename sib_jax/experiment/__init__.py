"""The stages of a run: pretrain, features, meta-train, evaluate."""

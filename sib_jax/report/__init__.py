"""What a run tells: progress, metrics, results, tables."""

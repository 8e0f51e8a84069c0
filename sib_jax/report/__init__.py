"""What a run reports: metrics, results, tables, and report.html."""

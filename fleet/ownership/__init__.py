"""Who may write to a cluster: hold it, lose it, know it (R23)."""

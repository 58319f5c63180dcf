"""The gate: many models against limits, a lock file or their originals. Light until a model must be looked into."""

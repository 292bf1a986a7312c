"""What the demo stands on: its processes, its progress bar and the indexing run itself."""

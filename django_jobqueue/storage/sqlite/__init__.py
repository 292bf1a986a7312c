"""Queues in an SQLite database: what ``FileStorage`` and ``MemoryStorage`` have in common."""

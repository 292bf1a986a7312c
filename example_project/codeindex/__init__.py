"""A searchable index of Python's standard library, filled by one job a source file."""

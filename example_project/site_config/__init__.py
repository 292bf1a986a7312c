"""The example site: its settings and its addresses."""

"""The soak: a queue under load and random faults for a long time, with every job accounted for."""

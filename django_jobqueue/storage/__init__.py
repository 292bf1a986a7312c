"""Where jobs live: the ``Storage`` contract and its implementations."""

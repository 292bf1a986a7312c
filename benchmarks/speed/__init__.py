"""How fast the queue is: each figure beside the floor that redis-py and the server set, in the same run."""

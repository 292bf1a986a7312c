"""The same work on the same server by django-jobqueue and by other job queues; see ``README.md``."""

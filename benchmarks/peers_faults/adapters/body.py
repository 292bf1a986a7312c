"""What the jobs of every Python peer do, and where they note it.

Each adapter is run as ``adapter.py worker``, ``adapter.py enqueue KIND ID[,ID…] SECONDS`` or
``adapter.py result ID``, with the peer's own interpreter and these variables: ``PEER_URL``, ``PEER_JOURNAL``, and
``PEER_ROW``, the configuration to use. ``result`` prints JSON: what is kept as the result of a job, or null.
"""

import json
import os
import sys
import time

URL = os.environ["PEER_URL"]
ROW = os.environ["PEER_ROW"]


def note(what, job_id):
    """Append a line to the journal; one write of a short line is atomic between processes."""
    with open(os.environ["PEER_JOURNAL"], "a", encoding="utf-8") as file:
        file.write(f"{what} {job_id} {os.getpid()} {time.time():.3f}\n")


def sleep(job_id, seconds):
    """Take some time; the result says which process ran it."""
    note("begin", job_id)
    time.sleep(seconds)
    note("end", job_id)
    return os.getpid()


def poison(job_id, seconds):
    """End the process that runs it, as a segmentation fault does."""
    note("begin", job_id)
    time.sleep(seconds)
    os._exit(17)


def main(worker, enqueue, result):
    """Do what the command line says."""
    verb, *arguments = sys.argv[1:]
    if verb == "worker":
        worker()
    elif verb == "enqueue":
        kind, job_ids, seconds = arguments
        for job_id in job_ids.split(","):
            enqueue(kind, job_id, float(seconds))
    elif verb == "result":
        print(json.dumps(result(*arguments), default=str))

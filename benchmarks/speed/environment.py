"""The variables in which the processes of the benchmark find server and file; the settings read them at once."""

SETTINGS = "benchmarks.speed.settings"

#: The address of the server.
URL_VARIABLE = "JOBQUEUE_PROCESS_URL"

#: The file of the ``FileStorage``.
FILE_VARIABLE = "JOBQUEUE_BENCHMARK_FILE"

"""granian serving WSGI: a server in Rust with one worker process; the application is plain WSGI."""

NAME = "granian (WSGI)"
REQUIREMENTS = ("granian==2.8.7", "click==8.5.1", "orjson==3.13.0")
COMMAND = ("{python}", "-m", "granian", "_wsgi:app", "--working-dir", "{here}", "--port", "{port}",
           "--interface", "wsgi", "--http", "1", "--no-ws", "--no-log",
           "--workers", "1", "--runtime-threads", "1", "--runtime-mode", "mt", "--blocking-threads", "1",
           "--http1-pipeline-flush",
           # It takes no more connections than this, and idle ones count.
           "--backlog", "16384", "--backpressure", "16384",
           # The longest that there is; it ends idle connections as well.
           "--http1-header-read-timeout", "60000")
VERSION = ("{python}", "-I", "-c",
           "from importlib.metadata import version; print('granian', version('granian'))")
MISSING_WORKLOADS = {"later": "WSGI has no asynchronous handlers"}

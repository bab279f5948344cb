"""granian serving ASGI: a server in Rust with one worker process; the application is plain ASGI."""

NAME = "granian (ASGI)"
REQUIREMENTS = ("granian==2.8.7", "click==8.5.1", "uvloop==0.23.0", "orjson==3.13.0")
COMMAND = ("{python}", "-m", "granian", "_asgi:app", "--working-dir", "{here}", "--port", "{port}",
           "--interface", "asginl", "--http", "1", "--no-ws", "--no-log", "--loop", "uvloop",
           "--workers", "1", "--runtime-threads", "1", "--runtime-mode", "st", "--http1-pipeline-flush",
           # It takes no more connections than this, and idle ones count.
           "--backlog", "16384", "--backpressure", "16384",
           # The longest that there is; it ends idle connections as well.
           "--http1-header-read-timeout", "60000")
VERSION = ("{python}", "-I", "-c",
           "from importlib.metadata import version; print('granian', version('granian'))")

"""uvicorn, an ASGI server, on httptools and uvloop; the application is plain ASGI."""

NAME = "uvicorn (httptools)"
REQUIREMENTS = ("uvicorn==0.54.0", "h11==0.16.0", "click==8.5.1", "httptools==0.9.0", "uvloop==0.23.0",
                "orjson==3.13.0")
COMMAND = ("{python}", "-m", "uvicorn", "_asgi:app", "--app-dir", "{here}", "--port", "{port}",
           "--interface", "asgi3", "--http", "httptools", "--loop", "uvloop", "--ws", "none",
           "--lifespan", "off", "--no-access-log", "--log-level", "error", "--no-proxy-headers",
           "--no-server-header", "--no-date-header", "--timeout-keep-alive", "3600")
VERSION = ("{python}", "-m", "uvicorn", "--version")

"""Japronto on the parser of httptools, of this checkout."""

NAME = "Japronto (httptools)"
COMMAND = ("{python}", "-m", "japronto", "_japronto:app", "--app-dir", "{here}", "--port", "{port}",
           "--backend", "httptools", "--loop", "uvloop",
           # 10,000 connections that wait, and those that do not.
           "--connections", "15000", "--connections-per-client", "15000", "--idle-seconds", "3600")
VERSION = ("{python}", "-m", "japronto", "--version", "--backend", "httptools", "--loop", "uvloop")

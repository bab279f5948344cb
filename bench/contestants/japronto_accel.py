"""Japronto with its C parts, of this checkout."""

NAME = "Japronto (accel)"
COMMAND = ("{python}", "-m", "japronto", "_japronto:app", "--app-dir", "{here}", "--port", "{port}",
           "--backend", "accel", "--loop", "uvloop",
           # 10,000 connections that wait, and those that do not.
           "--connections", "15000", "--connections-per-client", "15000", "--idle-seconds", "3600")
VERSION = ("{python}", "-m", "japronto", "--version", "--backend", "accel", "--loop", "uvloop")

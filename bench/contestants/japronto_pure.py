"""Japronto in Python alone, of this checkout."""

NAME = "Japronto (pure)"
COMMAND = ("{python}", "-m", "japronto", "_japronto:app", "--app-dir", "{here}", "--port", "{port}",
           "--backend", "pure", "--loop", "uvloop",
           # 10,000 connections that wait, and those that do not.
           "--connections", "15000", "--connections-per-client", "15000", "--idle-seconds", "3600")
VERSION = ("{python}", "-m", "japronto", "--version", "--backend", "pure", "--loop", "uvloop")

"""The http module of NodeJS, in one process."""

NAME = "NodeJS http"
LANGUAGE = "JavaScript"
NEEDS = {"node": "nodejs"}
COMMAND = ("node", "{here}/node.js", "{port}")
VERSION = ("node", "--version")

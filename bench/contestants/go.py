"""net/http of Go's standard library, on one thread."""

NAME = "Go net/http"
LANGUAGE = "Go"
NEEDS = {"go": "golang"}
BUILD = ("env", "GO111MODULE=off", "go", "build", "-o", "{made}/server", "{here}/go.go")
COMMAND = ("{made}/server", "{port}")
VERSION = ("go", "version")

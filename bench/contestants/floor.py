"""No server, but what one may cost at least: a bare epoll loop with a canned answer, in C."""

NAME = "floor (epoll, C)"
LANGUAGE = "C"
NEEDS = {"cc": "gcc"}
BUILD = ("cc", "-O3", "-D_GNU_SOURCE", "{here}/../floor.c", "-o", "{made}/floor")
COMMAND = ("{made}/floor", "{port}")
VERSION = ("cc", "-dumpfullversion")
MISSING_WORKLOADS = {
    "json": "it reads no paths but those of long answers, and serializes nothing",
    "users": "it reads no paths but those of long answers, and has no router",
    "echo": "it reads no content",
    "later": "it has no handlers",
    "upload": "it reads no content",
}

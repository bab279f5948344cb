"""10. What was not there in 2017: decorators, typed placeholders, middleware, mounting, hooks.

A small service that keeps notes::

    python examples/modern.py
    curl -H 'Authorization: Bearer secret' -d '{"text": "Buy milk"}' http://127.0.0.1:8080/api/notes
"""

import time

from japronto import Application, BadRequest, HTTPError, Request, Response

app = Application()
api = Application()

notes: dict[int, str] = {}


class NoteNotFound(HTTPError):
    """An exception with a status of its own needs no error handler."""

    status = 404


# Hooks run on the loop of the worker, before the first request and after the last one: the place to
# open and close a pool of connections.
@app.on_startup
async def open_notes(app: Application) -> None:
    notes.update({1: "Read the examples"})


@app.on_shutdown
async def close_notes(app: Application) -> None:
    notes.clear()


# Middleware surrounds handlers: it may look at the request, answer by itself, change the response.
@app.middleware
async def measure(request: Request, handler):
    started = time.perf_counter()
    response = await handler(request)
    response.headers["Server-Timing"] = f"handler;dur={1000 * (time.perf_counter() - started):.3f}"
    return response


# This one surrounds the routes of `api` alone, wherever they are mounted.
@api.middleware
def authorize(request: Request, handler):
    if request.headers.get("Authorization") != "Bearer secret":
        return Response(401, text="Who are you?", headers={"WWW-Authenticate": "Bearer"})
    return handler(request)


@app.get("/")
def index(request: Request) -> Response:
    return Response(text="The notes are below /api/notes")


@api.get("/notes")
def all_notes(request: Request) -> Response:
    return Response(json=notes)


@api.post("/notes", content_bytes=10_000)
def add(request: Request) -> Response:
    note = request.json
    if not isinstance(note, dict) or not isinstance(note.get("text"), str):
        raise BadRequest('a note is an object with a "text"')
    number = max(notes, default=0) + 1
    notes[number] = note["text"]
    return Response(201, json={"number": number}, headers={"Location": f"/api/notes/{number}"})


# Only digits match, and the value is an int.
@api.get("/notes/{number:int}")
def one_note(request: Request) -> Response:
    return Response(text=find(request))


@api.delete("/notes/{number:int}")
def remove(request: Request) -> Response:
    find(request)
    del notes[request.match_dict["number"]]
    return Response(204)


def find(request: Request) -> str:
    number = request.match_dict["number"]
    if number not in notes:
        raise NoteNotFound(f"there is no note {number}")
    return notes[number]


app.mount("/api", api)


if __name__ == "__main__":
    app.run()

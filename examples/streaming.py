"""9. Streaming: content that is sent, or taken, piece by piece.

Nothing is held in memory: a client that reads slowly makes the generator wait, and a handler that
takes slowly makes the client wait::

    python examples/streaming.py
    curl -N http://127.0.0.1:8080/countdown/5
"""

import asyncio
import hashlib

from japronto import Application

app = Application()

SECONDS = 0.2


# The body may be any iterator of bytes.
@app.get("/numbers")
def numbers(request):
    return request.Response(body=(f"{number}\n".encode() for number in range(1000)), mime_type="text/plain")


# Or an async one, which may wait between two pieces.  These are events for an EventSource in a browser.
@app.get("/countdown/{start:int}")
def countdown(request):
    async def events():
        for number in range(request.match_dict["start"], 0, -1):
            yield f"data: {number}\n\n".encode()
            await asyncio.sleep(SECONDS)
        yield b"data: lift-off\n\n"

    return request.Response(body=events(), mime_type="text/event-stream",
                            headers={"Cache-Control": "no-store"})


# With stream=True the handler starts before the content is there.  content_bytes allows more of it
# than the 16 MiB that are taken otherwise.
@app.post("/digest", stream=True, content_bytes=10 * 2**30)
async def digest(request):
    received, digest = 0, hashlib.sha256()
    async for piece in request.stream():
        received += len(piece)
        digest.update(piece)

    return request.Response(json={"bytes": received, "sha256": digest.hexdigest()})


# Both at once: what comes goes back while more of it comes.
@app.post("/upper", stream=True, content_bytes=10 * 2**30)
def upper(request):
    async def pieces():
        async for piece in request.stream():
            yield piece.upper()

    return request.Response(body=pieces(), mime_type="text/plain")


if __name__ == "__main__":
    app.run()

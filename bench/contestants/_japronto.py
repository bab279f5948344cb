"""What the backends of Japronto serve."""

import asyncio

from japronto import Application

TEN_K, ONE_M = b"x" * 10_240, b"x" * 1_048_576

app = Application()


@app.get("/")
def hello(request):
    return request.Response(text="Hello world!")


@app.get("/json")
def json(request):
    return request.Response(json={"message": "Hello world!"})


@app.get("/users/{name}")
def user(request):
    return request.Response(text="Hello " + request.match_dict["name"])


@app.post("/echo")
def echo(request):
    return request.Response(body=request.body, mime_type="application/octet-stream")


@app.get("/later")
async def later(request):
    await asyncio.sleep(0)
    return request.Response(text="Hello world!")


@app.get("/10k")
def ten_k(request):
    return request.Response(body=TEN_K, mime_type="text/plain")


@app.get("/1m")
def one_m(request):
    return request.Response(body=ONE_M, mime_type="text/plain")


@app.post("/upload", stream=True, content_bytes=10 * 2**30)
async def upload(request):
    received = 0
    async for piece in request.stream():
        received += len(piece)
    return request.Response(text=str(received))

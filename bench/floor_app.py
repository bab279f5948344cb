"""The application that ``floor.py`` measures: one handler for each workload."""

from japronto import Application

app = Application()
LARGE = b"x" * 1_000_000


@app.get("/")
def hello(request):
    return request.Response(text="Hello world!")


@app.get("/users/{name}")
def user(request):
    return request.Response(text="Hello " + request.match_dict["name"])


@app.get("/async")
async def asynchronous(request):
    return request.Response(text="Hello world!")


@app.get("/json")
def json(request):
    return request.Response(json={"message": "Hello world!"})


@app.get("/fields")
def fields(request):
    return request.Response(text="Hello world!", mime_type="text/html", headers={"Cache-Control": "no-store"})


@app.get("/pieces")
def pieces(request):
    return request.Response(body=iter((b"Hello ", b"world!")), mime_type="text/plain; charset=utf-8")


@app.post("/echo")
def echo(request):
    return request.Response(body=request.body)


@app.get("/large")
def large(request):
    return request.Response(body=LARGE)

"""1. Hello: the smallest application.

A handler is a function that takes a request and returns a response.  The router says which
handler answers which path.  Start it with ``japronto --app-dir examples hello:app`` or with
``python examples/hello.py``, then run ``curl http://127.0.0.1:8080/``.
"""

from japronto import Application


def hello(request):
    return request.Response(text="Hello world!")


app = Application()
app.router.add_route("/", hello)


if __name__ == "__main__":
    app.run()

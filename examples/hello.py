"""1. Hello: the smallest application.

A handler is a function that takes a request and returns a response.  The router says which
handler answers which path::

    python examples/hello.py
    curl http://127.0.0.1:8080/
"""

from japronto import Application


def hello(request):
    return request.Response(text="Hello world!")


app = Application()
app.router.add_route("/", hello)


# Under this condition, the file can also be imported: by a test, or by `japronto hello:app`.
# app.run() listens on all addresses of the machine.  With debug=True, clients are shown the traceback
# of a handler that failed, which is not for strangers; so this one listens on this machine alone.
if __name__ == "__main__":
    app.run("127.0.0.1", debug=True)

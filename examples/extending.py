"""7. Extending the request: methods, properties and callbacks of your own.

What many handlers need of a request can be given a name once, and then reads as if it had always
been there.  It belongs to this application; other applications in the process do not see it::

    python examples/extending.py
    curl -H 'Host: api.example' http://127.0.0.1:8080/
"""

from japronto import Application


# These two are registered below, one as a property and one as a method.
def reversed_agent(request):
    return request.headers["User-Agent"][::-1]


def host_startswith(request, prefix):
    return request.headers["Host"].startswith(prefix)


def extended_hello(request):
    if request.host_startswith("api."):
        text = "Hello " + request.reversed_agent
    else:
        text = "Hello stranger"

    return request.Response(text=text)


finished = []


# A callback runs when the exchange is over: the answer has left, or can not leave any more.
# request.extra is a dictionary for whatever is to be remembered until then.
def with_callback(request):
    request.extra["number"] = len(finished) + 1
    request.add_done_callback(finish)

    return request.Response(text=f"Callback {request.extra['number']} is yet to come")


def finish(request):
    finished.append(request.extra["number"])


def show_finished(request):
    return request.Response(json=finished)


app = Application()
app.extend_request(reversed_agent, property=True)
app.extend_request(host_startswith)

app.router.add_route("/", extended_hello)
app.router.add_route("/callback", with_callback)
app.router.add_route("/finished", show_finished)


if __name__ == "__main__":
    app.run()

"""3. The router: which handler answers which request.

Routes are tried in the order in which they were added, and the first that matches wins::

    python examples/router.py
    curl http://127.0.0.1:8080/planets/mars/moons/phobos
"""

from japronto import Application

app = Application()
router = app.router


# Matches exactly this path, whatever the method.
def slash(request):
    return request.Response(text=f"{request.method} of the root")


router.add_route("/", slash)


# Matches one method.  HEAD is answered like GET, without the content.
def get_love(request):
    return request.Response(text="Got some love")


router.add_route("/love", get_love, "GET")


# Matches several methods; all others are answered with 405 and the list of these in Allow.
def several(request):
    return request.Response(text=f"You may {request.method}")


router.add_route("/several", several, methods=["POST", "DELETE"])


# Added before the pattern below, so /planets/earth comes here.
def home(request):
    return request.Response(text="You are here")


router.add_route("/planets/earth", home)


# A placeholder matches one segment of the path, and its value is in match_dict.  The path is
# percent-decoded; a slash that is written %2F stays inside its segment.
def moon(request):
    return request.Response(json=request.match_dict)


router.add_route("/planets/{planet}", moon)
router.add_route("/planets/{planet}/moons/{moon}", moon)


# Doubled braces stand for themselves.
def braces(request):
    return request.Response(text=request.path)


router.add_route("/{{braces}}", braces)


if __name__ == "__main__":
    app.run()

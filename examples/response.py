"""5. The response: status code, content, fields and cookies.

A response takes its content from one of ``text``, ``body`` and ``json``; each has a media type that
suits it, and ``mime_type`` sets another one::

    python examples/response.py
    curl -i http://127.0.0.1:8080/cookies
"""

from http.cookies import SimpleCookie

from japronto import Application


def text(request):
    return request.Response(text="Hello world!")


def encoding(request):
    return request.Response(text="Já pronto!", encoding="iso-8859-1")


def mime(request):
    return request.Response(mime_type="image/svg+xml", text=(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 90">'
        '<line x1="10" y1="10" x2="80" y2="80" stroke="blue" /></svg>'))


def body(request):
    return request.Response(body=b"\xde\xad\xbe\xef")


def json(request):
    return request.Response(json={"hello": "world"})


def code(request):
    return request.Response(code=int(request.match_dict["code"]))


# Names and values of fields are checked here, where they are set: a line break in one, which could
# add a field that nobody meant, raises an error.
def headers(request):
    return request.Response(text="See the fields", headers={
        "X-Header": "Value",
        "Refresh": "5; url=https://www.rfc-editor.org/rfc/rfc9110",
    })


def cookies(request):
    cookies = SimpleCookie()
    cookies["hello"] = "world"
    cookies["hello"]["path"] = "/"
    cookies["hello"]["max-age"] = 3600
    cookies["city"] = "São Paulo"

    return request.Response(text="See the cookies", cookies=cookies)


app = Application()
router = app.router
router.add_route("/text", text)
router.add_route("/encoding", encoding)
router.add_route("/mime", mime)
router.add_route("/body", body)
router.add_route("/json", json)
router.add_route("/code/{code}", code)
router.add_route("/headers", headers)
router.add_route("/cookies", cookies)


if __name__ == "__main__":
    app.run()

"""4. The request: what a handler can know about it.

Everything is decoded when it is asked for and not before, so what a handler does not use costs
nothing::

    python examples/request.py
    curl -F name=Ida -F photo=@examples/request.py http://127.0.0.1:8080/form
"""

from json import JSONDecodeError

from japronto import Application


# The request line and the header fields.  Names of fields are case-insensitive.
def basic(request):
    return request.Response(json={
        "method": request.method,
        "path": request.path,
        "version": request.version,
        "query_string": request.query_string,
        "query": request.query,
        "headers": dict(request.headers.items()),
        "user_agent": request.headers.get("user-agent"),
    })


# The content: octets, text, JSON.  All are None when the request has no content.
def body(request):
    try:
        json = request.json
    except JSONDecodeError:
        json = "not JSON"

    return request.Response(json={
        "mime_type": request.mime_type,
        "encoding": request.encoding,
        "length": len(request.body or b""),
        "text": request.text,
        "json": json,
    })


# A form as browsers send it, with fields and files.  Both are None when the content is no form.
def form(request):
    if request.form is None:
        return request.Response(code=415, text="Send a form")

    return request.Response(json={
        "fields": request.form,
        "files": {field: {"name": file.name, "type": file.type, "length": len(file.body)}
                  for field, file in request.files.items()},
    })


# Who asks whom, and how.
def misc(request):
    return request.Response(json={
        "hostname": request.hostname,
        "port": request.port,
        "remote_addr": request.remote_addr,
        "keep_alive": request.keep_alive,
        "cookies": request.cookies,
        "route": request.route.pattern,
        "match_dict": request.match_dict,
    })


# A key may stand in a query several times.  The plain way reads the last one, getall all.
def tags(request):
    return request.Response(json={
        "last": request.query.get("tag"),
        "all": request.query.getall("tag"),
    })


app = Application()
app.router.add_route("/basic", basic)
app.router.add_route("/body", body)
app.router.add_route("/form", form)
app.router.add_route("/misc/{anything}", misc)
app.router.add_route("/tags", tags)


if __name__ == "__main__":
    app.run()

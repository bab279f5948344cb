"""8. Templates: pages made with Jinja (``pip install jinja2``).

Japronto has no templates of its own, and needs none: a page is text of the type text/html.
Templates are loaded once, when the program starts.  ``autoescape`` makes what comes from clients
harmless::

    python examples/templates.py
    curl 'http://127.0.0.1:8080/?name=Ida'
"""

from pathlib import Path

from japronto import Application

try:
    from jinja2 import Environment, FileSystemLoader
except ModuleNotFoundError:
    raise SystemExit("This example needs Jinja, which is not installed: pip install jinja2") from None

pages = Environment(autoescape=True, loader=FileSystemLoader(Path(__file__).parent / "pages"))
greeting = pages.get_template("greeting.html")


# A page may be a string.
def plain(request):
    return request.Response(text="<h1>Some HTML!</h1>", mime_type="text/html")


# A page may be rendered from a template.
def greet(request):
    page = greeting.render(name=request.query.get("name", "world"), method=request.method,
                           headers=request.headers)

    return request.Response(text=page, mime_type="text/html")


app = Application()
app.router.add_route("/", greet)
app.router.add_route("/plain", plain)


if __name__ == "__main__":
    app.run()

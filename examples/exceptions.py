"""6. Exceptions: what the client is told when a handler fails.

An exception that nobody handles is logged and answered with 500.  ``add_error_handler`` turns
exceptions of a type, and of the types derived from it, into answers of your own.  The first
handler that fits is the one that is called::

    python examples/exceptions.py
    curl http://127.0.0.1:8080/cat
"""

from japronto import Application, RouteNotFoundException


class KittyError(Exception):
    pass


class DoggieError(Exception):
    pass


def cat(request):
    raise KittyError("meow")


def dog(request):
    raise DoggieError("woof")


# An ordinary mistake of a client: the text is not a number.
def double(request):
    return request.Response(text=str(2 * int(request.match_dict["number"])))


# An ordinary mistake of a programmer.  With debug=True its traceback is shown to the client.
def unhandled(request):
    return request.Response(text=str(1 / 0))


def handle_cat(request, exception):
    return request.Response(text=f"Just a kitty: {exception}")


def handle_dog(request, exception):
    return request.Response(text=f"Just a doggie: {exception}")


def handle_value_error(request, exception):
    return request.Response(code=400, text="That is not a number")


# Raised when no route matches; it also stands for a method that the routes of a path do not take.
def handle_not_found(request, exception):
    return request.Response(code=404, text="Are you lost, pal?")


app = Application()
app.router.add_route("/cat", cat)
app.router.add_route("/dog", dog)
app.router.add_route("/double/{number}", double)
app.router.add_route("/unhandled", unhandled)

app.add_error_handler(KittyError, handle_cat)
app.add_error_handler(DoggieError, handle_dog)
app.add_error_handler(ValueError, handle_value_error)
app.add_error_handler(RouteNotFoundException, handle_not_found)


if __name__ == "__main__":
    app.run()

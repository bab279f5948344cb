"""Whether an installed Japronto serves with the fast parts.  Needs nothing but the package itself."""

from __future__ import annotations

import sys

from japronto import Application, backend
from japronto.testing import Client

app = Application()


@app.get("/{name}")
def greet(request):  # type: ignore[no-untyped-def]
    return request.Response(text=f"Hello, {request.match_dict['name']}")


if __name__ == "__main__":
    active = backend.active()
    with Client(app) as client:
        answer = client.get("/wheel")
    print(f"backend {active}: {answer.status} {answer.text}")
    sys.exit(active.name != "accel" or answer.text != "Hello, wheel")

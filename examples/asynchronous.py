"""2. Asynchronous handlers: waiting without holding up anybody else.

A plain function must be quick, since nothing else happens while it runs.  A coroutine function
may wait: while it does, the same worker answers other requests::

    python examples/asynchronous.py
    curl http://127.0.0.1:8080/async
"""

import asyncio

from japronto import Application


def synchronous(request):
    return request.Response(text="I am synchronous!")


# The client waits for as long as this sleeps; all other clients do not notice.
async def asynchronous(request):
    for _ in range(3):
        await asyncio.sleep(0.1)

    return request.Response(text="I slept three times, and held up nobody.")


sleepers = []


# One request may wait for another.  This one is answered when somebody asks for /wake.
# When its client goes away instead, the coroutine is cancelled, and `finally` still runs: at once when
# the connection was reset, and up to `half_close_seconds` later when it was closed in order, since a
# client that has closed its side may still wait for the answer.
async def sleep(request):
    sleeper = asyncio.get_running_loop().create_future()
    sleepers.append(sleeper)
    try:
        await sleeper
    finally:
        sleepers.remove(sleeper)

    return request.Response(text="Good morning!")


def wake(request):
    woken = [sleeper for sleeper in sleepers if not sleeper.done()]
    for sleeper in woken:
        sleeper.set_result(None)

    return request.Response(text=f"{len(woken)} woken")


app = Application()
app.router.add_route("/sync", synchronous)
app.router.add_route("/async", asynchronous)
app.router.add_route("/sleep", sleep)
app.router.add_route("/wake", wake, method="POST")


if __name__ == "__main__":
    app.run()

"""The application that ``writes.py`` measures: handlers that are slow in three ways, and one that is not."""

import asyncio

from japronto import Application

app = Application()


@app.get("/now")
def now(request):
    return request.Response(text="Hello world!")


@app.get("/async")
async def at_once(request):
    return request.Response(text="Hello world!")


@app.get("/turn")
async def one_turn(request):
    await asyncio.sleep(0)
    return request.Response(text="Hello world!")


@app.get("/1ms")
async def one_millisecond(request):
    await asyncio.sleep(0.001)
    return request.Response(text="Hello world!")

"""How coroutines are driven: the first step at once, in the call that starts them.

Most async handlers never really wait: they await something that is there already, or nothing.
A task of their own, created, scheduled and thrown away, would cost such a handler more than all
the rest of its request.  So a coroutine takes its first step in place, on behalf of a *driver*: a
real ``asyncio.Task`` that is kept for the purpose and for that moment is the current task.

* When the coroutine ends there, that was all; the driver serves the next one.
* When it waits, the driver adopts it: from then on it is an ordinary coroutine in an ordinary
  task, which can be cancelled, and the next coroutine gets a new driver.

A driver that has served one coroutine must look new to the next.  It is thrown away when the
coroutine has set a context variable, named the task, asked for its cancellation or to be called when
it is done, or kept a reference to it (some libraries keep data by task).

Nothing that is run here finds a context variable that another has set.  What all of them find is what
was set where the runner was made.  Plain functions that belong to a request are *called* with a
context of their own, for the same reason: that of the loop's callbacks would be shared by all requests
of a connection.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import weakref
from asyncio import CancelledError
from asyncio import _enter_task as enter_task
from asyncio import _leave_task as leave_task
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeAlias, TypeVar

__all__ = ["CancelledError", "Done", "Driver", "Runner", "enter_task", "leave_task"]

Done: TypeAlias = Callable[[Any, Any, BaseException | None], None]
"""Called with what was given to ``run``, the result, and the exception if there was one."""

Result = TypeVar("Result")

_NOTHING: Final = object()


class Runner:
    """Runs coroutines, and what belongs to them, on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.pristine = contextvars.copy_context()
        """What all that is run begins with a copy of; never entered itself."""
        self.tasks: set[asyncio.Task[None]] = set()
        """Those of the coroutines that wait, and are not over."""
        self._context: contextvars.Context | None = self.pristine.copy()  # for call(), None while in use
        self._driver: Driver | None = None

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a plain function with a context of its own."""
        context, self._context = self._context, None
        if context is None:
            context = self.pristine.copy()
        try:
            return context.run(function, *arguments)
        finally:
            if not _differ(context, self.pristine):
                self._context = context

    def run(self, coroutine: Coroutine[Any, Any, Any], given: Any, done: Done) -> asyncio.Task[None] | None:
        """Start a coroutine; ``done(given, result, error)`` is called once it is over.

        Returns its task when it waits for something, ``None`` when it is over already.  When this
        is called by a task, the coroutine takes its first step a little later.
        """
        driver = self.driver()
        task = driver.task
        try:
            enter_task(self.loop, task)
        except RuntimeError:  # There can be only one current task.
            self._driver = None
            driver.adopt(coroutine, None, given, done)
            return task
        try:
            waits_for = driver.context.run(coroutine.send, None)
        except StopIteration as stop:
            leave_task(self.loop, task)
            if driver.used():
                self.close()
            done(given, stop.value, None)
            return None
        except BaseException as error:
            leave_task(self.loop, task)
            self.close()
            if isinstance(error, KeyboardInterrupt):
                raise
            done(given, None, error)
            return None
        leave_task(self.loop, task)
        return self.adopt(coroutine, waits_for, given, done)

    def driver(self) -> Driver:
        """The driver of the next coroutine; the fast lane borrows it to take first steps by itself."""
        if self._driver is None or self._driver.over or self._driver.task.cancelling():
            self._driver = Driver(self.loop, self.pristine, self.tasks)
        return self._driver

    def adopt(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any, given: Any,
              done: Done) -> asyncio.Task[None]:
        """Carry on with a coroutine that has taken its first step with ``driver()``, and waits."""
        driver, self._driver = self._driver or self.driver(), None
        driver.adopt(coroutine, waits_for, given, done)
        return driver.task

    def close(self) -> None:
        """Throw the idle driver away."""
        if self._driver is not None:
            self._driver.end()
        self._driver = None


def _differ(context: contextvars.Context, other: contextvars.Context) -> bool:
    """Whether a variable has another value in one than in the other, so far as that can be said."""
    try:
        return context != other
    except Exception:  # There are values that cannot be compared.
        return True


class Driver(Coroutine[Any, Any, None]):
    """What a task runs that waits for a coroutine to adopt, and then runs that.

    Not a coroutine function, since one that is cancelled before its first step never learns of it,
    and would forget what it has adopted.
    """

    __slots__ = ("_adopted", "_coroutine", "_done", "_given", "_name", "_references", "_snapshot",
                 "_under_way", "_waits_for", "_weak_references", "context", "over", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop, pristine: contextvars.Context,
                 under_way: set[asyncio.Task[None]]) -> None:
        self.over = False
        self._under_way = under_way
        self.context = pristine.copy()
        self._adopted: asyncio.Future[None] = loop.create_future()
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._waits_for: Any = None
        self._given: Any = None
        self._done: Done | None = None
        self.task: asyncio.Task[None] = asyncio.Task(self, loop=loop, context=self.context)
        self._snapshot = pristine
        self._name = self.task.get_name()
        self._references = sys.getrefcount(self.task)
        self._weak_references = weakref.getweakrefcount(self.task)

    def used(self) -> bool:
        """Whether a coroutine has left traces."""
        task = self.task
        return (sys.getrefcount(task) > self._references + 2  # the variables here, and in run()
                or weakref.getweakrefcount(task) > self._weak_references
                or _differ(self.context, self._snapshot) or task.cancelling() > 0
                or bool(task._callbacks) or task.get_name() is not self._name)

    def adopt(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any, given: Any, done: Done) -> None:
        """Carry on with a coroutine that waits."""
        self._coroutine, self._waits_for, self._given, self._done = coroutine, waits_for, given, done
        self._under_way.add(self.task)
        self._wake()

    def end(self) -> None:
        """Nothing will be adopted: the task is done, with nothing."""
        if not self.over:
            self._let_go()
            self._wake()

    def _wake(self) -> None:
        """Let the task take a step.  If it was cancelled, it will do so by itself."""
        if not self._adopted.done():
            self._adopted.set_result(None)

    def send(self, value: Any) -> Any:
        """What the task waits for next; called by the task."""
        if self.over:
            raise StopIteration
        if self._coroutine is None:
            self._adopted._asyncio_future_blocking = True
            return self._adopted
        if self._waits_for is not _NOTHING:
            waits_for, self._waits_for = self._waits_for, _NOTHING
            return waits_for
        return self._step(self._coroutine.send, value)

    def throw(self, error: Any, value: Any = None, traceback: Any = None) -> Any:
        """Called by the task when what it waits for fails, or when it is cancelled."""
        try:
            if self._coroutine is None:
                if not self.over:
                    self._let_go()
                raise error
            self._waits_for = _NOTHING
            return self._step(self._coroutine.throw, error)
        finally:
            error = None  # Its traceback holds this frame.

    def _step(self, step: Callable[[Any], Any], argument: Any) -> Any:
        try:
            return step(argument)
        except StopIteration as stop:
            result, error = stop.value, None
        except KeyboardInterrupt:
            raise
        except BaseException as raised:
            result, error = None, raised
        done, given = self._done, self._given
        assert done is not None
        self._let_go()
        try:
            done(given, result, error)
        finally:
            error = argument = None  # The traceback of either holds this frame.
        raise StopIteration

    def _let_go(self) -> None:
        """Of all that it holds: the task holds this object."""
        self._coroutine = self._given = self._done = None
        self.over = True
        self._under_way.discard(self.task)
        del self.task

    def close(self) -> None:
        """Called by nobody but an interpreter that ends."""

    def __await__(self) -> Generator[Any, Any, None]:
        raise RuntimeError("a driver is awaited by its task alone")

"""How coroutines are driven: the first step at once, in the call that starts them.

Most async handlers never really wait: they await something that is there already, or nothing.
A task of their own, created, scheduled and thrown away, would cost such a handler more than all
the rest of its request.  So a coroutine takes its first step in place, on behalf of a *driver*: a
real ``asyncio.Task`` that is kept for the purpose and for that moment is the current task.

* When the coroutine ends there, that was all; the driver serves the next one.
* When it waits, the driver adopts it: from then on it is an ordinary coroutine in an ordinary
  task, which can be cancelled, and the next coroutine gets a new driver.
* When it only lets others have a turn, as by ``asyncio.sleep(0)``, it takes its second step in the same
  way, in the next turn of the loop, with all others that did so.  Its driver is its own until then.  Where
  it is not over after that, or has left traces, the driver adopts it.  That saves some handles of the loop,
  and the driver serves again.

A driver that has served one coroutine must look new to the next.  It is thrown away when the
coroutine has set a context variable to another value, named the task, asked for its cancellation or to
be called when it is done, or kept a reference to it (some libraries keep data by task).  A value that only
equals the old one is not seen; so no two coroutines share a driver before the first of them is over.

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
IDLE_DRIVERS: Final = 1000
"""The most drivers that wait to serve again: a megabyte and a half."""


class Turn:
    """A coroutine that has let others have a turn, and goes on in the next; stands for it until then."""

    __slots__ = ("_cancelled", "coroutine", "done", "driver", "given", "owned")

    def __init__(self, driver: Driver, coroutine: Coroutine[Any, Any, Any], given: Any, done: Done,
                 owned: set[Waiting]) -> None:
        self.driver = driver
        self.coroutine = coroutine
        self.given = given
        self.done = done
        self.owned = owned
        self._cancelled = False

    def cancel(self) -> bool:
        """As of a task: the coroutine will find it where it goes on."""
        self._cancelled = True
        return True

    def cancelling(self) -> int:
        return int(self._cancelled)


Waiting: TypeAlias = "asyncio.Task[None] | Turn"
"""What stands for a coroutine that is not over."""


class Runner:
    """Runs coroutines, and what belongs to them, on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.pristine = contextvars.copy_context()
        """What all that is run begins with a copy of; never entered itself."""
        self.tasks: set[Waiting] = set()
        """Those of the coroutines that wait, and are not over."""
        self._turns: list[Turn] = []
        self._idle: list[Driver] = []
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

    def run(self, coroutine: Coroutine[Any, Any, Any], given: Any, done: Done,
            owned: set[Waiting] | None = None) -> Waiting | None:
        """Start a coroutine; ``done(given, result, error)`` is called once it is over.

        Returns what stands for it when it waits for something, ``None`` when it is over already.  When this
        is called by a task, the coroutine takes its first step a little later.  While it waits, its task is
        in ``owned``, where that is given; only then may it be a ``Turn`` first.
        """
        return self._step(self.driver(), coroutine, None, given, done, owned, turn=owned is not None)

    def _step(self, driver: Driver, coroutine: Coroutine[Any, Any, Any], error: BaseException | None,
              given: Any, done: Done, owned: set[Waiting] | None, *, turn: bool) -> Waiting | None:
        """Let a coroutine take a step, in which it finds an error if there is one."""
        task = driver.task
        if driver is self._driver:
            self._driver = None
        try:
            enter_task(self.loop, task)
        except RuntimeError:  # There can be only one current task.
            driver.adopt(coroutine, None, given, done, owned)
            if error is not None:
                task.cancel()
            return task
        try:
            if error is None:
                waits_for = driver.context.run(coroutine.send, None)
            else:
                waits_for = driver.context.run(coroutine.throw, error)
        except StopIteration as stop:
            leave_task(self.loop, task)
            if driver.used():
                driver.end()
            else:
                self._spare(driver)
            done(given, stop.value, None)
            return None
        except BaseException as raised:
            leave_task(self.loop, task)
            driver.end()
            if isinstance(raised, KeyboardInterrupt):
                raise
            done(given, None, raised)
            return None
        finally:
            error = None  # Its traceback holds this frame.
        leave_task(self.loop, task)
        if turn and waits_for is None and owned is not None and not driver.used():
            return self._yielded(driver, coroutine, given, done, owned)
        driver.adopt(coroutine, waits_for, given, done, owned)
        return task

    def _yielded(self, driver: Driver, coroutine: Coroutine[Any, Any, Any], given: Any, done: Done,
                 owned: set[Waiting]) -> Turn:
        turn = Turn(driver, coroutine, given, done, owned)
        self.tasks.add(turn)
        owned.add(turn)
        if not self._turns:
            self.loop.call_soon(self._take_turns)
        self._turns.append(turn)
        return turn

    def _take_turns(self) -> None:
        """Let those go on that have let others have a turn."""
        turns, self._turns = self._turns[::-1], []
        try:
            while turns:
                turn = turns.pop()
                self.tasks.discard(turn)
                turn.owned.discard(turn)
                driver = turn.driver
                if driver.over or driver.task.cancelling():  # Somebody cancels all tasks that he finds.
                    turn.cancel()
                    driver = self.driver()
                error = CancelledError() if turn.cancelling() else None
                self._step(driver, turn.coroutine, error, turn.given, turn.done, turn.owned, turn=False)
        finally:
            if turns:  # What one of them has raised is not the fault of the others.
                if not self._turns:
                    self.loop.call_soon(self._take_turns)
                self._turns += turns[::-1]

    def driver(self) -> Driver:
        """The driver of the next coroutine; the fast lane borrows it to take first steps by itself."""
        while self._driver is None or self._driver.over or self._driver.task.cancelling():
            self._driver = self._idle.pop() if self._idle else Driver(self.loop, self.pristine, self.tasks)
        return self._driver

    def _spare(self, driver: Driver) -> None:
        """Let a driver serve again."""
        if self._driver is None:
            self._driver = driver
        elif len(self._idle) < IDLE_DRIVERS:
            self._idle.append(driver)
        else:
            driver.end()

    def adopt(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any, given: Any, done: Done,
              owned: set[Waiting]) -> Waiting:
        """Carry on with a coroutine that has taken its first step with ``driver()``, and waits."""
        driver, self._driver = self._driver or self.driver(), None
        task = driver.task
        if waits_for is None and not driver.used():
            return self._yielded(driver, coroutine, given, done, owned)
        driver.adopt(coroutine, waits_for, given, done, owned)
        return task

    def drop(self) -> None:
        """Throw the driver of the next coroutine away."""
        if self._driver is not None:
            self._driver.end()
        self._driver = None

    def close(self) -> None:
        """Throw all idle drivers away."""
        self.drop()
        while self._idle:
            self._idle.pop().end()


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

    __slots__ = ("_adopted", "_coroutine", "_done", "_given", "_name", "_owned", "_references", "_snapshot",
                 "_under_way", "_waits_for", "_weak_references", "context", "over", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop, pristine: contextvars.Context,
                 under_way: set[Waiting]) -> None:
        self.over = False
        self._under_way = under_way
        self._owned: set[Waiting] | None = None
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
        return (sys.getrefcount(task) > self._references + 2  # the variables here, and of the caller
                or weakref.getweakrefcount(task) > self._weak_references
                or _differ(self.context, self._snapshot) or task.cancelling() > 0
                or bool(task._callbacks) or task.get_name() is not self._name)

    def adopt(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any, given: Any, done: Done,
              owned: set[Waiting] | None) -> None:
        """Carry on with a coroutine that waits."""
        self._coroutine, self._waits_for, self._given, self._done = coroutine, waits_for, given, done
        self._under_way.add(self.task)
        if owned is not None:
            self._owned = owned
            owned.add(self.task)
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
        if self._owned is not None:
            self._owned.discard(self.task)
        del self.task

    def close(self) -> None:
        """Called by nobody but an interpreter that ends."""

    def __await__(self) -> Generator[Any, Any, None]:
        raise RuntimeError("a driver is awaited by its task alone")

"""How coroutines are driven: at once, isolated from each other, and as ordinary tasks once they wait."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from japronto.server import new_loop
from japronto.tasks import Runner, Waiting, enter_task, leave_task

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


class Outcomes(list[tuple[Any, Any, BaseException | None]]):
    """What ``done`` was called with."""

    def __call__(self, given: Any, result: Any, error: BaseException | None) -> None:
        self.append((given, result, error))


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = new_loop(request.param)
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    yield loop
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.close()
    gc.collect()
    assert complaints == []


@pytest.fixture
def runner(loop: asyncio.AbstractEventLoop) -> Iterator[Runner]:
    runner = Runner(loop)
    yield runner
    runner.close()
    loop.run_until_complete(asyncio.sleep(0))
    assert asyncio.all_tasks(loop) == set()


@pytest.fixture
def called(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], Any]], Any]:
    """Call a function from the loop, outside of any task, as a protocol would be."""
    def call(function: Callable[[], Any]) -> Any:
        results: list[Any] = []

        def callback() -> None:
            try:
                results.append(function())
            finally:
                loop.stop()

        loop.call_soon(callback)
        loop.run_forever()
        return results[0]

    return call


Called = Callable[[Callable[[], Any]], Any]


async def quick() -> str:
    return "quick"


def test_a_coroutine_that_does_not_wait_is_over_when_run_returns(runner: Runner, called: Called) -> None:
    done = Outcomes()
    assert called(lambda: (runner.run(quick(), 1, done), list(done))) == (None, [(1, "quick", None)])


def test_one_that_waits_goes_on_as_a_task(loop: asyncio.AbstractEventLoop, runner: Runner,
                                          called: Called) -> None:
    done = Outcomes()
    steps = []

    async def waits() -> str:
        steps.append(asyncio.current_task())
        await asyncio.sleep(0)  # yields nothing
        steps.append(asyncio.current_task())
        await asyncio.sleep(0.001)
        steps.append(asyncio.current_task())
        async with asyncio.timeout(60):
            await asyncio.sleep(0.001)
        return "waited"

    task = called(lambda: runner.run(waits(), 2, done))
    assert (steps, done) == ([task], [])
    loop.run_until_complete(task)
    assert (steps, done) == ([task] * 3, [(2, "waited", None)])


def test_what_is_under_way_is_known(loop: asyncio.AbstractEventLoop, runner: Runner, called: Called) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError

    tasks = called(lambda: [runner.run(make(), None, lambda *_: None)
                            for make in (quick, fails, lambda: asyncio.sleep(60))])
    assert runner.tasks == {tasks[1], tasks[2]}
    loop.run_until_complete(tasks[1])
    assert runner.tasks == {tasks[2]}
    tasks[2].cancel()
    loop.run_until_complete(asyncio.wait([tasks[2]]))
    assert runner.tasks == set()


# Coroutines that only let others have a turn

def test_one_that_yields_once_needs_no_task(loop: asyncio.AbstractEventLoop, runner: Runner,
                                            called: Called) -> None:
    done, owned, current = Outcomes(), set[Waiting](), list[Any]()

    async def yields() -> str:
        before = id(asyncio.current_task())
        await asyncio.sleep(0)
        current.append((before, id(asyncio.current_task())))
        return "yielded"

    called(lambda: runner.run(quick(), 0, done))  # makes the task that drives

    def start() -> None:
        waiting = {runner.run(yields(), number, done, owned) for number in (1, 2)}
        assert (owned, runner.tasks, len(done)) == (waiting, waiting, 1)

    called(start)
    called(lambda: None)
    assert (owned, runner.tasks) == (set(), set())
    assert done[1:] == [(1, "yielded", None), (2, "yielded", None)]
    assert len(set(current)) == 2  # Each has its own, which is the same before and after.
    assert {(id(task), id(task)) for task in asyncio.all_tasks(loop)} == set(current)
    called(lambda: runner.run(yields(), 3, done, owned))
    called(lambda: None)
    assert len(set(current)) == 2  # They serve again.


def test_one_that_yields_again_gets_a_task(loop: asyncio.AbstractEventLoop, runner: Runner,
                                           called: Called) -> None:
    done, owned = Outcomes(), set[Waiting]()

    async def yields(times: int) -> int:
        for _ in range(times):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return times

    def start() -> set[Any]:
        return {runner.run(yields(times), times, done, owned) for times in (1, 2, 3)}

    first = called(start)
    called(lambda: None)
    assert len(owned) == 3
    assert owned == runner.tasks
    assert owned.isdisjoint(first)
    loop.run_until_complete(asyncio.wait([task for task in owned if isinstance(task, asyncio.Task)]))
    assert (owned, runner.tasks) == (set(), set())
    assert sorted(done) == [(times, times, None) for times in (1, 2, 3)]


@pytest.mark.parametrize("later", [False, True], ids=["at once", "after another turn"])
def test_one_that_has_yielded_can_be_cancelled(loop: asyncio.AbstractEventLoop, runner: Runner,
                                               called: Called, later: bool) -> None:
    done, owned, cleaned_up = Outcomes(), set[Waiting](), list[bool]()

    async def yields() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            if later:
                await asyncio.sleep(0)
            cleaned_up.append(True)

    def start() -> None:
        waiting = runner.run(yields(), 1, done, owned)
        assert waiting is not None
        assert waiting.cancelling() == 0
        assert waiting.cancel()
        assert waiting.cancelling() == 1

    called(start)
    for _ in range(4):
        called(lambda: None)
    assert (cleaned_up, owned, runner.tasks) == ([True], set(), set())
    assert [(given, type(error)) for given, _, error in done] == [(1, asyncio.CancelledError)]


@pytest.mark.parametrize("trace", ["reference", "variable", "name", "time-out"])
def test_one_that_has_left_traces_keeps_its_task(loop: asyncio.AbstractEventLoop, runner: Runner,
                                                 called: Called, trace: str) -> None:
    done, owned = Outcomes(), set[Waiting]()

    async def leaves() -> tuple[Any, Any, str]:
        task = before = asyncio.current_task()
        assert task is not None
        if trace != "reference":
            del task
        if trace == "variable":
            VARIABLE.set("mine")
        elif trace == "name":
            asyncio.current_task().set_name("mine")  # type: ignore[union-attr]
        if trace == "time-out":
            del before
            async with asyncio.timeout(60):
                before = asyncio.current_task()
                name = before.get_name()
                del before
                await asyncio.sleep(0)
            return name, asyncio.current_task().get_name(), VARIABLE.get()  # type: ignore[union-attr]
        name = before.get_name()
        if trace != "reference":
            del before
        await asyncio.sleep(0)
        return name, asyncio.current_task().get_name(), VARIABLE.get()  # type: ignore[union-attr]

    waiting = called(lambda: runner.run(leaves(), 1, done, owned))
    assert isinstance(waiting, asyncio.Task)
    called(lambda: runner.run(quick(), 2, done, owned))  # It would be found by this one.
    loop.run_until_complete(waiting)
    (_, (name, later, variable), error), = [outcome for outcome in done if outcome[0] == 1]
    assert (name, variable, error) == (later, "mine" if trace == "variable" else "unset", None)
    assert called(VARIABLE.get) == "unset"


def test_what_one_sets_in_its_second_step_is_not_seen(loop: asyncio.AbstractEventLoop, runner: Runner,
                                                      called: Called) -> None:
    done, owned = Outcomes(), set[Waiting]()

    async def sets() -> str:
        await asyncio.sleep(0)
        found = VARIABLE.get()
        VARIABLE.set("mine")
        return found

    called(lambda: [runner.run(sets(), number, done, owned) for number in range(3)])
    called(lambda: None)
    assert [found for _, found, _ in done] == ["unset"] * 3


def test_what_one_sets_to_an_equal_value_is_its_own(loop: asyncio.AbstractEventLoop, runner: Runner,
                                                    called: Called) -> None:
    """No trace of it is seen, since contexts are compared by the values."""
    done, owned = Outcomes(), set[Waiting]()
    shared = contextvars.ContextVar[list[int]]("shared")

    async def sets(number: int) -> list[int]:
        token = shared.set([])
        await asyncio.sleep(0)
        shared.get().append(number)
        found = shared.get()
        shared.reset(token)
        return found

    loop.run_until_complete(asyncio.sleep(0))
    runner.pristine.run(shared.set, [])
    called(lambda: [runner.run(sets(number), number, done, owned) for number in range(4)])
    called(lambda: None)
    assert done == [(number, [number], None) for number in range(4)]
    assert runner.pristine[shared] == []


def test_one_that_has_yielded_is_cancelled_with_all_tasks(loop: asyncio.AbstractEventLoop, runner: Runner,
                                                          called: Called) -> None:
    done, owned = Outcomes(), set[Waiting]()

    def start() -> None:
        runner.run(asyncio.sleep(0, "over"), 1, done, owned)
        for task in asyncio.all_tasks(loop):
            task.cancel()

    called(start)
    called(lambda: None)
    assert [(given, type(error)) for given, _, error in done] == [(1, asyncio.CancelledError)]
    assert called(lambda: runner.run(quick(), 2, done)) is None


def test_one_that_has_yielded_within_a_task_is_cancelled_all_the_same(
        loop: asyncio.AbstractEventLoop, runner: Runner, called: Called) -> None:
    """Who runs the loop further from within a task is the only current one."""
    done, owned = Outcomes(), set[Waiting]()

    def start() -> None:
        waiting = runner.run(asyncio.sleep(0, "over"), 1, done, owned)
        assert waiting is not None
        waiting.cancel()
        task = asyncio.Task(asyncio.sleep(0), loop=loop)
        enter_task(loop, task)
        try:
            runner._take_turns()
        finally:
            leave_task(loop, task)

    called(start)
    for _ in range(3):
        called(lambda: None)
    assert [(given, type(error)) for given, _, error in done] == [(1, asyncio.CancelledError)]
    assert (owned, runner.tasks) == (set(), set())


def test_what_is_raised_in_a_turn_does_not_keep_the_others_waiting(
        loop: asyncio.AbstractEventLoop, runner: Runner, called: Called) -> None:
    done, owned = Outcomes(), set[Waiting]()

    async def interrupts(number: int) -> int:
        await asyncio.sleep(0)
        if number == 1:
            raise KeyboardInterrupt
        return number

    def start() -> None:
        for number in range(3):
            runner.run(interrupts(number), number, done, owned)

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the loops differ in when
        called(start)
        called(lambda: None)
    for _ in range(2):
        called(lambda: None)
    assert [given for given, _, _ in done] == [0, 2]
    assert (owned, runner.tasks) == (set(), set())


def test_exceptions_at_once_and_later(loop: asyncio.AbstractEventLoop, runner: Runner,
                                      called: Called) -> None:
    done = Outcomes()

    async def fails(late: bool) -> None:
        if late:
            await asyncio.sleep(0)
        raise LookupError("planned")

    assert called(lambda: runner.run(fails(False), 1, done)) is None
    loop.run_until_complete(called(lambda: runner.run(fails(True), 2, done)))
    assert [(given, result, repr(error)) for given, result, error in done] == [
        (1, None, "LookupError('planned')"), (2, None, "LookupError('planned')")]


def test_what_is_waited_for_may_fail(loop: asyncio.AbstractEventLoop, runner: Runner,
                                     called: Called) -> None:
    done, future = Outcomes(), loop.create_future()

    async def waits() -> str:
        try:
            await future
        except LookupError:
            return "caught"
        return "missed"

    task = called(lambda: runner.run(waits(), None, done))
    loop.call_soon(future.set_exception, LookupError())
    loop.run_until_complete(task)
    assert done == [(None, "caught", None)]


@pytest.mark.parametrize("turns", [0, 1, 2, 3], ids="after {} turns of the loop".format)
def test_cancelling_reaches_the_clean_up_code(loop: asyncio.AbstractEventLoop, runner: Runner, called: Called,
                                              turns: int) -> None:
    """Also when the task has not taken a step of its own yet."""
    done = Outcomes()
    cleaned_up = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned_up.append(True)

    task = called(lambda: runner.run(waits(), 1, done))
    for _ in range(turns):
        loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    assert cleaned_up == [True]
    assert [(given, type(error)) for given, _, error in done] == [(1, asyncio.CancelledError)]


def test_a_coroutine_may_refuse_to_be_cancelled(loop: asyncio.AbstractEventLoop, runner: Runner,
                                                called: Called) -> None:
    done = Outcomes()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "still here"

    task = called(lambda: runner.run(stubborn(), None, done))
    task.cancel()
    loop.run_until_complete(task)
    assert done == [(None, "still here", None)]


def test_many_at_once(loop: asyncio.AbstractEventLoop, runner: Runner, called: Called) -> None:
    done = Outcomes()

    async def waits(number: int) -> int:
        for _ in range(number % 5):
            await asyncio.sleep(0)
        return number

    tasks = called(lambda: [runner.run(waits(number), number, done) for number in range(100)])
    assert [task is None for task in tasks] == [number % 5 == 0 for number in range(100)]
    loop.run_until_complete(asyncio.wait([task for task in tasks if task is not None]))
    assert sorted(result for _, result, _ in done) == list(range(100))


def test_no_context_leaks_from_one_to_the_next(loop: asyncio.AbstractEventLoop, runner: Runner,
                                               called: Called) -> None:
    async def sets(wait: bool) -> str:
        before = VARIABLE.get()
        VARIABLE.set("set")
        if wait:
            await asyncio.sleep(0)
            assert VARIABLE.get() == "set"
        return before

    done = Outcomes()
    for wait in (False, False, True, True, False):
        task = called(lambda wait=wait: runner.run(sets(wait), None, done))
        if task is not None:
            loop.run_until_complete(task)
    assert [result for _, result, _ in done] == ["unset"] * 5
    assert VARIABLE.get() == "unset"


class Incomparable:
    """Like an array of numpy: comparing gives no answer."""

    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = None  # type: ignore[assignment]


ARRAY: contextvars.ContextVar[Any] = contextvars.ContextVar("ARRAY", default="unset")


@pytest.mark.parametrize("value", ["set", Incomparable()], ids=["text", "incomparable"])
def test_neither_coroutines_nor_functions_see_what_another_has_set(
        loop: asyncio.AbstractEventLoop, called: Called, value: Any) -> None:
    """Whether they wait or fail, and whatever was set by the one who calls."""
    token = ARRAY.set(Incomparable())
    first = ARRAY.get()
    runner = Runner(loop)
    ARRAY.reset(token)
    found = []

    def sets(fail: bool) -> None:
        found.append(ARRAY.get())
        ARRAY.set(value)
        if fail:
            raise LookupError

    async def coroutine(fail: bool) -> None:
        sets(fail)

    def serve() -> None:
        ARRAY.set("of the caller")
        for fail in (False, True, False):
            runner.run(coroutine(fail), None, Outcomes())
            with contextlib.suppress(LookupError):
                runner.call(sets, fail)

    called(serve)
    runner.close()
    loop.run_until_complete(asyncio.sleep(0))
    assert len(found) == 6
    assert all(value is first for value in found)
    assert runner.pristine[ARRAY] is first


def test_functions_that_set_nothing_share_a_context(runner: Runner) -> None:
    """That is what keeps calling them cheap."""
    contexts = []

    def looks() -> None:
        contexts.append(runner._context)
        runner.call(lambda: contexts.append(runner._context))

    assert runner.call(lambda *arguments: arguments, 1, 2) == (1, 2)
    runner.call(looks)
    runner.call(looks)
    assert contexts == [None] * 4
    assert runner._context is not None
    runner.call(VARIABLE.set, "set")
    assert runner._context is None


def test_a_call_within_a_call_has_a_context_of_its_own(runner: Runner) -> None:
    def outer() -> tuple[str, str]:
        VARIABLE.set("outer")
        return runner.call(VARIABLE.get), VARIABLE.get()

    assert runner.call(outer) == ("unset", "outer")
    assert runner.call(VARIABLE.get) == "unset"


def test_who_keeps_data_by_task_finds_none_of_another(runner: Runner, called: Called) -> None:
    by_task: dict[Any, str] = {}
    by_weak_task: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    async def keeps(store: Any, value: str) -> str:
        task = asyncio.current_task()
        before: str = store.get(task, "nothing")
        store[task] = value
        return before

    done = Outcomes()
    for store in (by_task, by_weak_task):
        called(lambda store=store: [runner.run(keeps(store, str(number)), None, done) for number in range(3)])
    assert [result for _, result, _ in done] == ["nothing"] * 6


def test_one_that_cancels_itself_does_not_cancel_the_next(loop: asyncio.AbstractEventLoop, runner: Runner,
                                                          called: Called) -> None:
    async def cancels_itself() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "went on"

    async def waits() -> str:
        await asyncio.sleep(0)
        return "waited"

    done = Outcomes()
    called(lambda: runner.run(cancels_itself(), None, done))
    loop.run_until_complete(called(lambda: runner.run(waits(), None, done)))
    assert [result for _, result, _ in done] == ["went on", "waited"]


def test_one_may_cancel_itself_and_then_wait(loop: asyncio.AbstractEventLoop, runner: Runner,
                                             called: Called) -> None:
    """Also after the driver has been idle for a while."""
    async def cancels_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    done = Outcomes()
    for _ in range(2):
        called(lambda: runner.run(quick(), None, lambda *_: None))
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.wait([called(lambda: runner.run(cancels_itself(), None, done))]))
    assert [type(error) for _, _, error in done] == [asyncio.CancelledError] * 2


def test_one_that_cancels_all_tasks_does_not_cancel_the_next(loop: asyncio.AbstractEventLoop, runner: Runner,
                                                             called: Called) -> None:
    def cancel_all() -> Any:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        return runner.run(asyncio.sleep(0, "waited"), None, done)

    done = Outcomes()
    called(lambda: runner.run(quick(), None, lambda *_: None))
    loop.run_until_complete(called(cancel_all))
    assert [result for _, result, _ in done] == ["waited"]


@pytest.mark.parametrize("turns", [0, 2], ids="after {} turns of the loop".format)
def test_who_wants_to_hear_of_the_end_of_the_task_hears_of_it(
        loop: asyncio.AbstractEventLoop, runner: Runner, called: Called, turns: int) -> None:
    heard = []

    async def asks() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda task: heard.append(task.result()))

    for _ in range(turns):
        called(lambda: runner.run(quick(), None, Outcomes()))
        loop.run_until_complete(asyncio.sleep(0))
    called(lambda: [runner.run(asks(), None, Outcomes()) for _ in range(2)])
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    assert heard == [None, None]


def test_a_name_is_for_one_task(runner: Runner, called: Called) -> None:
    names = []

    async def names_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        names.append(task.get_name())
        task.set_name("mine")

    called(lambda: [runner.run(names_itself(), None, Outcomes()) for _ in range(3)])
    assert "mine" not in names
    assert len(set(names)) == 3


def test_quick_ones_share_a_driver(runner: Runner, called: Called) -> None:
    """That is what it is for."""
    seen = []

    async def looks() -> None:
        seen.append(id(asyncio.current_task()))

    called(lambda: [runner.run(looks(), None, Outcomes()) for _ in range(5)])
    assert len(set(seen)) == 1


def test_within_a_task_the_first_step_is_taken_later(loop: asyncio.AbstractEventLoop, runner: Runner) -> None:
    done = Outcomes()

    async def outer() -> None:
        current = asyncio.current_task()
        task = runner.run(quick(), 1, done)
        assert done == []
        assert asyncio.current_task() is current
        assert task is not None
        await task

    loop.run_until_complete(outer())
    assert done == [(1, "quick", None)]


def test_no_task_is_current_afterwards(loop: asyncio.AbstractEventLoop, runner: Runner,
                                       called: Called) -> None:
    async def fails() -> None:
        raise LookupError

    def run() -> Any:
        runner.run(quick(), None, Outcomes())
        runner.run(fails(), None, Outcomes())
        return asyncio.current_task(loop)

    assert called(run) is None


def test_what_ends_the_program_is_not_swallowed(loop: asyncio.AbstractEventLoop, runner: Runner) -> None:
    async def ends() -> None:
        raise KeyboardInterrupt

    done = Outcomes()
    loop.call_soon(lambda: runner.run(ends(), None, done))
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert done == []
    assert asyncio.current_task(loop) is None


@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, asyncio.CancelledError, BaseException])
def test_what_ends_a_handler_alone_is_its_outcome(loop: asyncio.AbstractEventLoop, runner: Runner,
                                                  called: Called, error: type[BaseException],
                                                  late: bool) -> None:
    async def ends() -> None:
        if late:
            await asyncio.sleep(0)
        raise error

    done = Outcomes()
    task = called(lambda: runner.run(ends(), 1, done))
    if late:
        loop.run_until_complete(task)
    assert [(given, result, type(raised)) for given, result, raised in done] == [(1, None, error)]


def test_nothing_is_left_for_the_collector(loop: asyncio.AbstractEventLoop, runner: Runner,
                                           called: Called) -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError

    def serve() -> None:
        for make in (quick, waits, fails):
            task = called(lambda make=make: runner.run(make(), None, lambda *_: None))
            if task is not None:
                loop.run_until_complete(asyncio.wait([task]))
            called(lambda make=make: runner.run(make(), None, lambda *_: None, set()))
            called(lambda: None)

    serve()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            serve()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_somebody_who_cancels_all_tasks_does_no_harm(loop: asyncio.AbstractEventLoop, runner: Runner,
                                                     called: Called) -> None:
    done = Outcomes()
    called(lambda: runner.run(quick(), 1, done))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    assert called(lambda: runner.run(quick(), 2, done)) is None
    loop.run_until_complete(called(lambda: runner.run(asyncio.sleep(0, "waited"), 3, done)))
    assert [result for _, result, _ in done] == ["quick", "quick", "waited"]

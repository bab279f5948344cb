"""Finds the application that a command line names: ``module:app``, or ``module.app`` as in 2017.

Whatever is wrong becomes one sentence.  It is a :class:`UsageError` when the name is wrong, and a
:class:`ProgramError` when the program's own code failed; that one says where, and has the exception as its
cause, with the traceback cut down to the program's own calls.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from types import ModuleType, TracebackType
from typing import Any, Final

from japronto.app import Application
from japronto.errors import ProgramError, UsageError, near
from japronto.routing import Router

PACKAGE: Final = str(Path(__file__).parent)
MACHINERY: Final = (PACKAGE, importlib.__file__, "<frozen importlib")
"""How the files begin that call the program."""
LIBRARIES: Final = (PACKAGE, sysconfig.get_path("stdlib"), "<frozen")
"""How the files begin that the program calls; packages that were installed may lie anywhere."""


def load(target: str, *, app_dir: str = ".", factory: bool = False) -> Application:
    """Import the module and return the application, or what the factory of that name makes."""
    module_name, attribute = _split(target)
    place = Path(app_dir).absolute()
    if not os.access(place, os.F_OK) or not place.is_dir():
        raise UsageError(f"there is no directory {app_dir} to look for applications in")
    if not os.access(place, os.R_OK | os.X_OK):
        raise UsageError(f"the directory {app_dir} cannot be read; give this user the right to, "
                         "or name another one (--app-dir)")
    if sys.path[:1] != [str(place)]:
        sys.path.insert(0, str(place))
    with _run_refused(target):
        module = _module(module_name, place)
        found = _attribute(module, module_name, attribute, place)
        if factory:
            found = _made(found, target)
    if not isinstance(found, Application):
        raise UsageError(f"{target} {_what(found, factory)}")
    return found


def _split(target: str) -> tuple[str, str]:
    name, colon, attribute = target.partition(":")
    if "/" in name or name.endswith(".py") or name in (".", ".."):
        raise _path(name, attribute or "app")
    if not colon:
        name, _, attribute = target.rpartition(".")
        if not name:
            raise UsageError(f"{target} names a module alone; name the application in it too, such as "
                             f"{target}:app")
    function, call, _ = attribute.partition("(")
    if call:
        raise UsageError(f"{target} is a call; name the function alone, and add --factory: "
                         f"japronto --factory {name}:{function}")
    if not all(name.split(".")) or not all(map(str.isidentifier, attribute.split("."))):
        raise UsageError(f"{target} does not name an application; "
                         "that takes a module and a name in it, such as hello:app")
    return name, attribute


def _path(name: str, attribute: str) -> UsageError:
    """What to say of a path where a module should be."""
    path = PurePath(name)
    if path.suffix != ".py" and Path(name).is_dir():
        return UsageError(f"{name} is a directory; name a module in it, and the application in that, "
                          f"such as japronto --app-dir {name} hello:app")
    directory = "" if path.parent == PurePath() else f"--app-dir {path.parent} "
    return UsageError(f"{name} is a path; name the module and the application in it, "
                      f"such as japronto {directory}{path.stem}:{attribute}")


def _module(name: str, place: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        calls = _own_calls(error.__traceback__)
        if isinstance(error, ModuleNotFoundError) and error.name and calls is None:
            parent = error.name.rpartition(".")[0]
            paths = getattr(sys.modules.get(parent), "__path__", [] if parent else [str(place)])
            siblings = [".".join(filter(None, (parent, module.name)))
                        for module in pkgutil.iter_modules(paths)]
            raise UsageError(f"there is no module {error.name} in {place} nor where Python looks for others"
                             f"{near(error.name, siblings)}") from None
        raise failure(error, f"{name} cannot be imported") from error


def _attribute(module: ModuleType, module_name: str, path: str, place: Path) -> Any:
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise _no_attribute(module, module_name, path, found, name, place) from None
        except Exception as error:
            raise failure(error, f"{module_name}:{path} cannot be had") from error
    return found


def _no_attribute(module: ModuleType, module_name: str, path: str, owner: object, name: str,
                  place: Path) -> UsageError:
    as_module = f"{module_name}.{path}"
    if hasattr(module, "__path__") and "." not in path and importlib.util.find_spec(as_module):
        return UsageError(f"{as_module} is a module; name the application in it too, "
                          f"such as {as_module}:app")
    if owner is not module:
        ahead = path.partition(f".{name}")[0]
        return UsageError(f"there is no {name} in {module_name}:{ahead}{near(name, dir(owner))}")
    kind = "a directory without __init__.py" if hasattr(module, "__path__") else "a built-in one"
    file = getattr(module, "__file__", None) or kind
    applications = [known for known, value in vars(module).items() if isinstance(value, Application)]
    hidden = place / f"{module_name}.py"
    if hidden.is_file() and file != str(hidden):
        hint = f"; {hidden} has a name that is taken, so rename it"
    elif applications:
        hint = near(name, applications) or f"; there is {module_name}:{applications[0]}"
    else:
        hint = near(name, dir(module))
    return UsageError(f"there is no {name} in the module {module_name} ({file}){hint}")


def _made(factory: Any, target: str) -> Any:
    if isinstance(factory, Application):
        raise UsageError(f"{target} is an application already; leave --factory out")
    if not callable(factory):
        raise UsageError(f"{target} cannot be called, so it is no factory; it is of type {_type(factory)}")
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise UsageError(f"{target} cannot be a factory, which is called without arguments: "
                         f"{error}") from None
    except ValueError:  # a callable written in C that does not tell its parameters
        pass
    try:
        made = factory()
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise failure(error, f"the factory {target} failed") from error
    if inspect.iscoroutine(made):
        made.close()
        raise UsageError(f"{target} is a coroutine function; a factory must be a plain function")
    return made


def _what(found: object, made: bool) -> str:
    """The rest of the sentence about something that is not an application."""
    verb = "returned" if made else "is"
    parameters: list[str] = []
    if callable(found):
        try:
            parameters = list(inspect.signature(found).parameters)
        except (TypeError, ValueError):
            parameters = ["unknown"]
    if isinstance(found, type) and issubclass(found, Application):
        return f"{verb} the class {found.__name__}; name an instance of it, such as app = {found.__name__}()"
    if isinstance(found, Router):
        return f"{verb} a router; mount it on an Application, and name that"
    for kind, names in (("ASGI", ["scope", "receive", "send"]), ("WSGI", ["environ", "start_response"])):
        if parameters[:len(names)] == names:
            return (f"{verb} an application for {kind}, which Japronto does not speak; "
                    f"it serves instances of japronto.Application")
    if callable(found) and not parameters and not made:
        return "is a function; if it makes the application, add --factory"
    return f"{verb} no japronto.Application; it is of type {_type(found)}"


def _type(found: object) -> str:
    kind = type(found)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def _run_refused(target: str) -> Iterator[None]:
    """While the user's module is imported: a bare ``app.run()`` at its end must not serve.

    Programs of 2017 have one.  It would serve from within the import, with other options than
    those of the command line, and once it was stopped the command line would serve again.
    """
    def refuse(*_args: object, **_options: object) -> None:
        raise UsageError(f"{target} is in a module that calls app.run() when it is imported; put that call "
                         'under if __name__ == "__main__": or start the file with python instead')

    run: Callable[..., Any] = Application.run
    setattr(Application, "run", refuse)  # noqa: B010 - an assignment would change the method's type
    try:
        yield
    finally:
        setattr(Application, "run", run)  # noqa: B010


def _own_calls(calls: TracebackType | None) -> TracebackType | None:
    """A traceback from the program's first call on."""
    while calls is not None and calls.tb_frame.f_code.co_filename.startswith(MACHINERY):
        calls = calls.tb_next
    return calls


def failure(error: BaseException, what: str) -> ProgramError:
    """What to tell of an exception in the program's code: its last line, and where to look first.

    That is the innermost call in a file of the program, and not in a library that it uses.
    """
    error.__traceback__ = calls = _own_calls(error.__traceback__)
    where = [(call.filename, call.lineno) for call in traceback.extract_tb(calls)]
    own = [(name, line) for name, line in where if not name.startswith(LIBRARIES)
           and {"site-packages", "dist-packages"}.isdisjoint(Path(name).parts)]
    said = str(error)
    if isinstance(error, SyntaxError) and error.filename:
        own, said = [(error.filename, error.lineno)], error.msg
    said = ": ".join([type(error).__name__, *said.splitlines()[:1]])
    at = "".join(f" in {name}, line {line}" for name, line in (own or where)[-1:])
    return ProgramError(f"{what}: {said}{at}")

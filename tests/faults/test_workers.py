"""Workers that die, hang, are replaced and cannot start, and a master that keeps them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from command import COMMAND, ROOT, WAIT_SECONDS
from sockets.process import until
from sockets.tls import certificate, trusting

from .conftest import PROGRAM, Master, Start, alive
from .load import Load

BRIEF = ("--retire-seconds", "1", "--drain-seconds", "2", "--check-seconds", "0.05")


def ask(master: Master, path: str = "/") -> str:
    """What a new connection is answered."""
    client = http.client.HTTPConnection("127.0.0.1", master.port, timeout=30)
    client.request("GET", path)
    answer = client.getresponse().read().decode()
    client.close()
    return answer


# Serving

def test_two_workers_share_the_requests(start: Start) -> None:
    master = start("--workers", "2")
    assert master.said().endswith(", 2 workers); Ctrl-C stops it.\n")
    with Load(master.port, clients=16) as load:
        until(lambda: len(load.servers) == 2, "both workers answer")
    assert load.servers == set(map(str, master.workers()))
    master.signal(signal.SIGTERM)
    master.exits()


def test_the_master_holds_nothing_of_the_server(start: Start) -> None:
    """Neither its loop nor the program."""
    master = start("--workers", "1", "--loop", "uvloop")
    (worker,) = master.workers()
    holds_loop = ["uvloop" in Path(f"/proc/{pid}/maps").read_text() for pid in (master.process.pid, worker)]
    assert holds_loop == [False, True]


# Ends of workers

def test_a_worker_that_is_killed_is_replaced(start: Start) -> None:
    """Only its own connections fail."""
    master = start("--workers", "2")
    with Load(master.port) as load:
        until(lambda: len(load.servers) == 2, "both workers answer")
        victim = master.workers()[0]
        before = set(master.workers())
        os.kill(victim, signal.SIGKILL)
        until(lambda: int(ask(master)) not in before, "a third worker answers")
        load.go_on(200)
    # One that it had accepted, and not answered yet, is its own too; such a one is never refused.
    assert all(failure.server == str(victim) or (failure.server == "" and "refused" not in failure.what)
               for failure in load.failures), load.failures
    (new,) = set(master.workers()) - before
    assert f"Worker {victim} was killed by SIGKILL; replaced by {new}\n" in master.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_all_workers(start: Start, number: signal.Signals) -> None:
    master = start("--workers", "2")
    workers = master.workers()
    master.signal(number)
    assert master.exits().count("\n") == 1
    assert not any(map(alive, workers))


def test_the_code_is_loaded_anew(start: Start) -> None:
    """Under load, and nobody notices."""
    master = start("--workers", "2", *BRIEF)
    with Load(master.port) as load, Load(master.port, clients=2, pipelined=24) as pipelined:
        for _ in range(3):
            before = set(master.workers())
            master.signal(signal.SIGHUP)
            until(lambda before=before: len(set(master.workers()) - before) == 2
                  and before.isdisjoint(master.workers()), "all workers are replaced")
            load.go_on(100)
    assert load.failures == pipelined.failures == []
    assert len(load.servers | pipelined.servers) >= 6
    (master.directory / "hello.py").write_text(PROGRAM.replace("str(os.getpid())", "'new'"))
    master.signal(signal.SIGHUP)
    until(lambda: ask(master) == "new", "the new program answers")


def test_the_code_is_loaded_anew_where_each_worker_has_its_own_socket(start: Start) -> None:
    """What waits to be accepted there waits for the next worker."""
    master = start("--workers", "2", "--reuse-port", *BRIEF)
    with Load(master.port, clients=16) as load:
        for _ in range(2):
            before = set(master.workers())
            master.signal(signal.SIGHUP)
            until(lambda before=before: before.isdisjoint(master.workers()), "all workers are replaced")
            load.go_on(100)
    assert load.failures == []


def test_an_idle_client_may_ask_once_more(start: Start) -> None:
    master = start("--workers", "1", "--retire-seconds", "60", "--log-level", "info")
    (old,) = master.workers()
    client = http.client.HTTPConnection("127.0.0.1", master.port, timeout=30)
    client.connect()
    master.signal(signal.SIGHUP)
    master.until_said("All workers have loaded the program anew")
    until(lambda: int(ask(master)) != old, "the new worker serves")
    client.request("GET", "/")
    answer = client.getresponse()
    assert (int(answer.read()), answer.getheader("Connection")) == (old, "close")
    until(lambda: old not in master.workers(), "the old worker ends")
    client.close()


def test_a_signal_does_not_wait_for_those_that_retire(start: Start) -> None:
    master = start("--workers", "1", "--retire-seconds", "3600", "--log-level", "info")
    (old,) = master.workers()
    with socket.create_connection(("127.0.0.1", master.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1000).endswith(str(old).encode())
        master.signal(signal.SIGHUP)
        master.until_said("All workers have loaded the program anew")
        assert old in master.workers()
        master.signal(signal.SIGTERM)
        assert client.recv(1000) == b""
        master.exits(0)


def test_a_unix_socket_stays_until_the_master_ends(start: Start) -> None:
    """Its workers come and go."""
    master = start("--workers", "2", "--bind", "127.0.0.1:0", "--bind", "unix:socket", *BRIEF)
    path = master.directory / "socket"

    def asked() -> int:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return int(client.makefile("rb").read().rpartition(b"\r\n")[2])

    before = set(master.workers())
    assert asked() in before
    master.signal(signal.SIGHUP)
    until(lambda: before.isdisjoint(master.workers()), "all workers are replaced")
    assert asked() in master.workers()
    master.signal(signal.SIGTERM)
    master.exits(0)
    assert not path.exists()


def test_a_program_that_cannot_be_loaded_replaces_nobody(start: Start) -> None:
    master = start("--workers", "2")
    before = master.workers()
    (master.directory / "hello.py").write_text("def (")
    master.signal(signal.SIGHUP)
    master.until_said("The program cannot be loaded anew: hello cannot be imported: SyntaxError")
    assert master.workers() == before
    assert master.said().count("SyntaxError") == 2
    assert "The program cannot be loaded\n  File " in master.said()
    assert "--debug" not in master.said()
    assert int(ask(master)) in before
    (master.directory / "hello.py").write_text(PROGRAM)
    master.signal(signal.SIGHUP)
    until(lambda: set(before).isdisjoint(master.workers()), "the mended program is loaded")


LOADING = """
import os, time
open("loading", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
"""


def test_a_program_that_changes_while_it_is_loaded(start: Start) -> None:
    """What is being loaded is given up for it; in the end there is one worker, as if nothing had been."""
    master = start("--workers", "1")
    (old,) = master.workers()
    (master.directory / "hello.py").write_text(LOADING + "raise RuntimeError('broken')")
    master.signal(signal.SIGHUP)
    until((master.directory / "loading").exists, "it is being loaded")
    (master.directory / "hello.py").write_text(PROGRAM.replace("str(os.getpid())", "'mended'"))
    master.signal(signal.SIGHUP)
    until(lambda: len(master.workers()) == 1 and old not in master.workers(), "the mended one alone is there")
    assert ask(master) == "mended"
    assert "Worker" not in master.said()


def test_a_program_that_changes_while_the_first_workers_load_it(start: Start) -> None:
    master = start("--workers", "1", program=LOADING + PROGRAM, ready=False)
    until((master.directory / "loading").exists, "it is being loaded")
    (master.directory / "hello.py").write_text(LOADING + PROGRAM.replace("str(os.getpid())", "'new'"))
    (master.directory / "loading").unlink()
    master.signal(signal.SIGHUP)
    until((master.directory / "loading").exists, "it is loaded anew")
    (master.directory / "go").touch()
    master.listening()
    until(lambda: ask(master) == "new", "the new program answers")


ENDING = PROGRAM + """
from japronto.worker import MASTER
tell = MASTER.tell
def tell_and_end(word, **said):
    tell(word, **said)
    if word == "ready":
        os._exit(5)
MASTER.tell = tell_and_end
"""


def test_a_program_that_ends_as_soon_as_it_serves_replaces_nobody(start: Start) -> None:
    master = start("--workers", "1")
    before = master.workers()
    (master.directory / "hello.py").write_text(ENDING)
    master.signal(signal.SIGHUP)
    master.until_said(" ended with exit code 5; the workers that run go on\n")
    assert master.workers() == before
    assert int(ask(master)) in before


def test_a_worker_that_ends_as_soon_as_it_is_ready(start: Start) -> None:
    """Even if the master hears of both at once; and it says so without waiting for the next one."""
    master = start("--workers", "1", program=LOADING + ENDING, ready=False)
    until((master.directory / "loading").exists, "it is being loaded")
    master.signal(signal.SIGSTOP)
    (worker,) = master.workers()
    (master.directory / "go").touch()
    until(lambda: not alive(worker), "it has ended")
    master.signal(signal.SIGCONT)
    master.until_said(f"Worker {worker} ended with exit code 5; replaced by ")
    master.until_said(" ended with exit code 5; the next one follows in 0.5 s\n")
    assert "0 workers" not in master.said()


def test_who_does_not_hear_that_he_is_to_stop_is_told_when_he_is_ready(start: Start) -> None:
    loading = "try:" + LOADING.replace("\n", "\n    ") + "\nexcept: pass\n"
    master = start("--workers", "1", program=loading + PROGRAM, ready=False)
    until((master.directory / "loading").exists, "it is being loaded")
    master.signal(signal.SIGTERM)
    assert master.exits(0) == ""


def test_no_client_waits_for_a_socket_whose_worker_is_not_ready(start: Start) -> None:
    master = start("--workers", "1", "--reuse-port")
    (first,) = master.workers()
    (master.directory / "hello.py").write_text(LOADING + "raise RuntimeError('no database')")
    master.signal(signal.SIGTTIN)
    until((master.directory / "loading").exists, "the second one is being loaded")
    assert {int(ask(master)) for _ in range(30)} == {first}
    (master.directory / "go").touch()
    master.until_said("no database")
    assert {int(ask(master)) for _ in range(30)} == {first}
    # Nor for one whose worker has died, once it is known that it does not come back at once.
    (master.directory / "hello.py").write_text(PROGRAM)
    until(lambda: int(ask(master)) != first, "the second one serves")
    (master.directory / "hello.py").write_text("raise RuntimeError('no memory')")
    (second,) = set(master.workers()) - {first}
    os.kill(second, signal.SIGKILL)
    master.until_said("no memory")
    assert {int(ask(master)) for _ in range(30)} == {first}


def test_workers_that_cannot_start_come_more_rarely(start: Start) -> None:
    """And the others go on; once the program is mended, all are there again."""
    master = start("--workers", "2")
    first, second = master.workers()
    (master.directory / "hello.py").write_text("raise RuntimeError('no database')")
    os.kill(first, signal.SIGKILL)
    master.until_said("no database in")
    master.until_said("the next one follows in 0.5 s")
    master.until_said("the next one follows in 1 s")
    assert int(ask(master)) == second
    (master.directory / "hello.py").write_text(PROGRAM)
    until(lambda: len(master.workers()) == 2 and first not in master.workers(), "there are two workers again")


def test_a_worker_that_hangs_is_found(start: Start) -> None:
    """The log says where it hangs."""
    master = start("--workers", "1", "--worker-timeout", "0.5")
    (old,) = master.workers()
    with socket.create_connection(("127.0.0.1", master.port)) as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: a\r\n\r\n")
        master.until_said(f"Worker {old} hung, without a sign of life for 0.5 s, and is killed; replaced by ")
        until(lambda: not alive(old), "it is killed")
    assert "in block" in master.said()
    assert int(ask(master)) != old


def test_a_worker_that_asks_for_nothing_but_time_is_left_alone(start: Start) -> None:
    """What the master has slept itself does not count, though it goes on before the worker does."""
    master = start("--workers", "1", "--worker-timeout", "2")
    (worker,) = master.workers()
    for pid in (worker, master.process.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2.1)
    master.signal(signal.SIGCONT)
    master.signal(signal.SIGTTIN)
    until(lambda: len(master.workers()) == 2, "the master has looked")
    os.kill(worker, signal.SIGCONT)
    assert int(ask(master)) in master.workers()
    assert worker in master.workers()
    assert "hung" not in master.said()


GROWING = PROGRAM.replace("def who(request):", "def who(request, kept=[]):\n    kept.append(bytes(10**6))")


@pytest.mark.parametrize(("option", "value"), [
    ("--max-requests", "20"), ("--max-rss", "150m"), ("--worker-lifetime", "0.5")])
def test_a_worker_that_has_done_enough_is_replaced(start: Start, option: str, value: str) -> None:
    master = start("--workers", "1", option, value, "--worker-timeout", "2", *BRIEF, program=GROWING)
    (old,) = master.workers()
    with Load(master.port, clients=1) as load:
        until(lambda: len(load.servers) >= 2 and old not in master.workers(), "another one serves")
    assert load.failures == []
    assert "Worker" not in master.said()


def test_a_bound_that_no_worker_could_keep_is_none(start: Start) -> None:
    master = start("--workers", "1", "--max-rss", "1m", "--worker-timeout", "0.2")
    before = master.workers()
    assert "which is more than max_rss; that does not count then\n" in master.said()
    ask(master)
    assert master.workers() == before


# Numbers

def test_workers_come_and_go_by_signals(start: Start) -> None:
    master = start("--workers", "1", *BRIEF)
    (first,) = master.workers()
    master.signal(signal.SIGTTOU)  # Never below one.
    for count in (2, 3):
        master.signal(signal.SIGTTIN)
        until(lambda count=count: len(master.workers()) == count, f"there are {count}")
    with Load(master.port) as load:
        load.go_on(50)
        for count in (2, 1):
            master.signal(signal.SIGTTOU)
            until(lambda count=count: len(master.workers()) == count, f"there are {count}")
        load.go_on(50)
    assert load.failures == []
    assert master.workers() == [first]


def test_the_variable_of_other_servers(start: Start) -> None:
    assert len(start(WEB_CONCURRENCY="2").workers()) == 2
    assert len(start(WEB_CONCURRENCY="2", JAPRONTO_WORKERS="3").workers()) == 3
    assert len(start("--reload", WEB_CONCURRENCY="2").workers()) == 1


# The end

def test_a_second_signal_does_not_wait(start: Start) -> None:
    master = start("--workers", "2")
    with socket.create_connection(("127.0.0.1", master.port)) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        ask(master)
        master.signal(signal.SIGTERM)
        master.until_said("Finishing what 1 worker began, at most 30 s; another signal stops at once.\n")
        master.signal(signal.SIGTERM)
        master.exits(1)


def test_quit_does_not_wait(start: Start) -> None:
    master = start("--workers", "2")
    with socket.create_connection(("127.0.0.1", master.port)) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        ask(master)
        master.signal(signal.SIGQUIT)
        master.exits(1)


def test_a_manager_may_signal_all_processes(start: Start) -> None:
    """As systemd does, and a terminal: a worker that hears of it twice does not take it for impatience."""
    master = start("--workers", "2")
    with socket.create_connection(("127.0.0.1", master.port)) as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        until((master.directory / "waiting").exists, "the request is under way")
        workers = master.workers()
        for pid in (*workers, master.process.pid):
            os.kill(pid, signal.SIGTERM)
        until(lambda: sum(map(alive, workers)) == 1, "the idle worker ends")
        (master.directory / "go").touch()
        answer = client.recv(1000)
    assert b"Connection: close" in answer
    master.exits(0)


def test_a_worker_that_does_not_end_is_killed(start: Start) -> None:
    master = start("--workers", "1", "--drain-seconds", "0.1")
    with socket.create_connection(("127.0.0.1", master.port)) as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: a\r\n\r\n")
        until((master.directory / "blocked").exists, "it blocks")
        for _ in range(3):
            master.signal(signal.SIGTERM)
            until(lambda: master.process.poll() is not None or not pending(master), "the signal was taken")
        assert "ended in time" not in master.exits(1)  # It was not waited for until then.


def pending(master: Master) -> bool:
    """Whether the process has signals that it has not taken yet."""
    status = Path(f"/proc/{master.process.pid}/status").read_text()
    return any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("ShdPnd"))


def test_workers_do_not_outlive_their_master(start: Start) -> None:
    """Neither those that serve nor one that hangs."""
    master = start("--workers", "2", "--worker-timeout", "1")
    workers = master.workers()
    hung = start("--workers", "1", "--worker-start-timeout", "1", program="import time\ntime.sleep(3600)",
                 ready=False)
    until(lambda: len(hung.workers()) == 1, "a worker is started")
    workers += hung.workers()
    hung.process.kill()
    with socket.create_connection(("127.0.0.1", master.port)) as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: a\r\n\r\n")
        until((master.directory / "blocked").exists, "one blocks")
        master.process.kill()
        for pid in workers:
            until(lambda pid=pid: not alive(pid), "the worker ends")


# What keeps workers from starting

@pytest.mark.parametrize(("program", "code", "sentence"), [
    ("def (", 3, "hello cannot be imported: SyntaxError: "),
    ("application = 1", 2, "there is no app in the module hello "),
    ("import os\nos._exit(7)", 3, "no worker could start: the first one ended with exit code 7"),
    ("import os\nos.kill(os.getpid(), 9)", 3, "no worker could start: the first one was killed by SIGKILL"),
])
def test_workers_that_never_start(start: Start, program: str, code: int, sentence: str) -> None:
    """The sentence is said once, not by each of them."""
    master = start("--workers", "2", program=program, ready=False)
    said = master.exits(code)
    assert said.startswith(f"japronto: {sentence}")
    assert said.count("\n") == 1


def test_workers_that_are_never_ready(start: Start) -> None:
    master = start("--workers", "1", "--worker-start-timeout", "0.5", ready=False,
                   program="import time\ntime.sleep(3600)")
    assert master.exits(3).endswith("japronto: it was not ready after 0.5 s\n")


def test_a_program_with_workers(start: Start) -> None:
    """``app.run()`` in a worker ends the program there, and goes on in the master."""
    program = PROGRAM + "app.run('127.0.0.1', 0, worker_num=2)\nprint('the end', flush=True)\n"
    master = start(program=program, run=True)
    assert int(ask(master)) in master.workers()
    master.signal(signal.SIGTERM)
    assert master.exits(0).endswith("the end\n")
    assert master.said().count("the end") == 1


def test_a_program_says_what_the_command_can_be_told(start: Start, tmp_path: Path) -> None:
    pem = certificate(tmp_path / "server.pem")
    program = f"""
from japronto import Application, TLSConfig
app = Application()
@app.get('/')
def who(request):
    return request.Response(text=f'{{request.scheme}} {{request.remote_addr}}')
app.run('127.0.0.1', 0, worker_num=2, tls=TLSConfig(certificate={pem!r}), proxy_headers='x-forwarded')
"""
    master = start(program=program, run=True)
    client = http.client.HTTPSConnection("localhost", master.port, timeout=30, context=trusting())
    client.request("GET", "/", headers={"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http"})
    assert client.getresponse().read() == b"http 192.0.2.7"
    client.close()


def test_a_program_that_cannot_be_run_again(tmp_path: Path) -> None:
    program = PROGRAM + "app.run('127.0.0.1', 0, worker_num=2)\n"
    done = subprocess.run(
        COMMAND[:1], input=program, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "japronto: the program comes from standard input, where workers cannot read it again; "
        "put it into a file, or serve without workers and reloading\n")


def test_a_child_of_a_worker_is_no_worker(start: Start) -> None:
    """What makes a worker is gone before the program may start anything: the variable, and the sockets."""
    program = """
import os
found = [name for name in os.environ if name.startswith('JAPRONTO')]
for number in range(3, 100):
    try:
        found += [number] if os.get_inheritable(number) else []
    except OSError:
        pass
""" + PROGRAM + """
@app.get('/found')
def names(request):
    return request.Response(json=found)
"""
    master = start("--workers", "1", "--metrics-address", "0", program=program)
    assert ask(master, "/found") == "[]"


def test_what_a_worker_says_does_not_end_its_master(start: Start) -> None:
    program = PROGRAM + """
from japronto.worker import MASTER
MASTER._channel.sendall(b'nonsense' + bytes(range(256)) + b'ready 5\\nready {}\\nfailed [1]\\n')
for seconds in '"x"', 'NaN', '-1', '1' + 400 * '0':
    MASTER._channel.sendall(b'ready {"name": "x", "retire": 1, "drain": %s}\\n' % seconds.encode())
"""
    master = start("--workers", "1", program=program)
    assert int(ask(master)) in master.workers()
    assert master.said().count("says what means nothing") == 8


# The file with the process id

def test_the_pid_file(start: Start) -> None:
    master = start("--workers", "1", "--pid-file", "pid")
    file = master.directory / "pid"
    assert file.read_text() == f"{master.process.pid}\n"
    other = start("--pid-file", str(file), ready=False)
    assert other.exits(3) == (f"japronto: the process {master.process.pid}, which runs, holds the pid file "
                              f"{file}; stop it, or choose another file\n")
    master.signal(signal.SIGTERM)
    master.exits(0)
    assert not file.exists()


def test_a_pid_file_that_was_left_behind(start: Start) -> None:
    """Its number may be that of another process by now."""
    first = start("--pid-file", "pid", ready=False)
    first.listening()
    file = first.directory / "pid"
    first.process.kill()
    first.process.wait()
    assert file.exists()
    file.write_text(f"{os.getpid()}\n")
    second = start("--pid-file", str(file))
    assert file.read_text() == f"{second.process.pid}\n"
    file.write_text("another\n")
    second.signal(signal.SIGTERM)
    second.exits(0)
    assert file.read_text() == "another\n"
    assert list(file.parent.glob(".pid*")) == []


# Reloading

def hiding(directory: Path) -> dict[str, str]:
    """The environment of a Python that has no watchfiles."""
    (directory / "sitecustomize.py").write_text("import sys\nsys.modules['watchfiles'] = None\n")
    return {"PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)])}


@pytest.mark.parametrize("watchfiles", [True, False])
def test_the_program_is_loaded_when_it_changes(start: Start, tmp_path: Path, watchfiles: bool) -> None:
    """A syntax error is survived, and what is not Python does not count."""
    master = start("--reload", **({} if watchfiles else hiding(tmp_path)))
    old = ask(master)
    (master.directory / "notes.txt").touch()
    (master.directory / "hello.py").write_text(PROGRAM.replace("str(os.getpid())", "'new'"))
    master.until_said("hello.py changed; reloading\n")
    until(lambda: ask(master) == "new", f"the new program answers, not {old}")
    (master.directory / "hello.py").write_text("def (")
    master.until_said("The program cannot be loaded anew: hello cannot be imported: SyntaxError")
    assert ask(master) == "new"
    (master.directory / "hello.py").write_text(PROGRAM)
    until(lambda: ask(master) != "new", "the mended program answers")
    assert "notes" not in master.said()


def test_a_program_that_cannot_start_is_waited_for(start: Start) -> None:
    master = start("--reload", program="def (", ready=False)
    master.until_said("The program cannot be loaded: hello cannot be imported: SyntaxError")
    (master.directory / "hello.py").write_text(PROGRAM)
    master.listening()
    assert int(ask(master)) in master.workers()


# The long form

@pytest.mark.long
@pytest.mark.program("wrk")
def test_nothing_is_lost_in_ten_renewals(start: Start) -> None:
    """Half a million requests and more, one by one and pipelined."""
    master = start("--workers", "2", "--retire-seconds", "3")
    command = ["wrk", "-t1", "-c50", "-d60s", f"http://127.0.0.1:{master.port}/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk, \
            Load(master.port, clients=4, pipelined=24) as load:
        for _ in range(10):
            before = set(master.workers())
            master.signal(signal.SIGHUP)
            until(lambda before=before: before.isdisjoint(master.workers()), "all workers are replaced")
        report, _ = wrk.communicate()
    answered = int(report.split(" requests in")[0].split()[-1]) + load.answered
    print(f"{answered:,} requests, {len(load.failures)} failed, {len(load.servers)} workers", report)
    assert load.failures == []
    assert "Socket errors" not in report, report
    assert "Non-2xx" not in report, report
    assert answered >= 500_000


# Logs

def test_the_logs_of_all_are_opened_anew(start: Start, tmp_path: Path) -> None:
    log, old = tmp_path / "access", tmp_path / "old"
    master = start("--workers", "2", "--access-log-file", str(log), "--access-log-format", "%(U)s %(p)s",
                   "--error-log", str(tmp_path / "errors"))
    log.rename(old)
    master.signal(signal.SIGUSR1)

    def reopened(pid: int) -> bool:
        links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        return str(log) in links and str(old) not in links

    until(lambda: all(map(reopened, master.workers())), "both have the new file")
    ask(master, "/")
    assert (old.read_text(), log.read_text().count("\n")) == ("", 1)
    master.signal(signal.SIGTERM)
    master.exits()

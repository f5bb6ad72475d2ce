"""Subprocesses and signals."""

import asyncio
import contextvars
import os
import signal
import subprocess
import sys

import pytest
from loop_children import program
from peers import until

PIPE = asyncio.subprocess.PIPE


class TestProcesses:
    def test_a_program_gets_its_input_and_gives_its_output(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
            said, wrong = await process.communicate(b"x" * 1_000_000)
            assert said == b"x" * 1_000_000
            assert wrong is None
            assert process.returncode == 0

        run(main())

    def test_a_shell_runs_a_command_line(self, run):
        async def main():
            process = await asyncio.create_subprocess_shell(
                "echo out; echo err >&2; exit 7", stdout=PIPE, stderr=PIPE
            )
            assert await process.communicate() == (b"out\n", b"err\n")
            assert process.returncode == 7

        run(main())

    def test_the_end_of_a_child_is_told_in_the_context_it_was_started_in(self, kind, loop, run):
        if kind == "asyncio":
            pytest.skip("asyncio tells of it in whatever context it hears of it")
        where = contextvars.ContextVar("where", default="outside")

        class Waits(asyncio.SubprocessProtocol):
            def process_exited(self):
                places.append(where.get())

            def connection_lost(self, _error):
                places.append(where.get())
                lost.set_result(None)

        async def main():
            where.set("inside")
            transport, _ = await loop.subprocess_exec(Waits, "true")
            where.set("later")
            await lost
            transport.close()
            assert places == ["inside", "inside"]

        places = []
        lost = loop.create_future()
        run(main())

    def test_environment_and_folder_are_the_childs_own(self, run, tmp_path):
        async def main():
            process = await asyncio.create_subprocess_shell(
                "pwd; echo $NAME", stdout=PIPE, cwd=tmp_path, env={"NAME": "ada"}
            )
            said, _ = await process.communicate()
            assert said.decode() == f"{tmp_path}\nada\n"

        run(main())

    def test_error_output_may_go_where_the_output_goes(self, run):
        async def main():
            process = await asyncio.create_subprocess_shell(
                "echo out; echo err >&2", stdout=PIPE, stderr=asyncio.subprocess.STDOUT
            )
            assert (await process.communicate())[0] == b"out\nerr\n"

        run(main())

    @pytest.mark.parametrize(("how", "number"), [("kill", signal.SIGKILL), ("terminate", signal.SIGTERM)])
    def test_a_child_that_is_killed_says_by_what(self, run, how, number):
        async def main():
            process = await asyncio.create_subprocess_exec("sleep", "100")
            assert process.returncode is None
            getattr(process, how)()
            assert await process.wait() == -number
            with pytest.raises(ProcessLookupError):
                process.kill()

        run(main())

    def test_several_may_wait_for_one_child(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
            waiting = [asyncio.ensure_future(process.wait()) for _ in range(5)]
            await asyncio.sleep(0)
            process.stdin.close()
            assert await asyncio.gather(*waiting) == [0] * 5

        run(main())

    def test_many_children_at_once_all_end(self, run):
        async def one(code):
            process = await asyncio.create_subprocess_exec("sh", "-c", f"exit {code}")
            return await process.wait()

        async def main():
            assert await asyncio.gather(*map(one, range(30))) == list(range(30))

        run(main())

    def test_a_program_that_is_not_there_says_so_and_leaves_nothing(self, run):
        async def main():
            with pytest.raises(FileNotFoundError):
                await asyncio.create_subprocess_exec("no-such-program-anywhere", stdin=PIPE, stdout=PIPE)

        run(main())

    def test_a_child_keeps_the_descriptors_it_is_given(self, run):
        async def main():
            reading, writing = os.pipe()
            process = await asyncio.create_subprocess_shell(
                f"echo hello >/dev/fd/{writing}", pass_fds=(writing,)
            )
            assert await process.wait() == 0
            os.close(writing)
            assert os.read(reading, 100) == b"hello\n"
            os.close(reading)

        run(main())

    def test_a_child_that_closes_its_output_and_lives_on_is_waited_for(self, run):
        async def main():
            process = await asyncio.create_subprocess_shell(
                "exec >&-; read line; exit 3", stdin=PIPE, stdout=PIPE
            )
            assert await process.stdout.read() == b""
            assert process.returncode is None
            process.stdin.write(b"go\n")
            assert await process.wait() == 3

        run(main())


class TestSignals:
    def test_a_handler_runs_in_the_loop(self, loop, run):
        async def main():
            seen = []
            loop.add_signal_handler(signal.SIGUSR1, seen.append, "usr1")
            os.kill(os.getpid(), signal.SIGUSR1)
            await until(lambda: seen == ["usr1"])
            assert loop.remove_signal_handler(signal.SIGUSR1) is True
            assert loop.remove_signal_handler(signal.SIGUSR1) is False

        run(main())
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL

    def test_a_signal_wakes_a_loop_that_sleeps(self, loop):
        loop.add_signal_handler(signal.SIGALRM, loop.stop)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        loop.run_forever()
        loop.remove_signal_handler(signal.SIGALRM)

    def test_pythons_own_handlers_run_while_the_loop_sleeps(self, loop):
        def handler(_number, _frame):
            loop.call_soon_threadsafe(loop.stop)

        old = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            loop.run_forever()
        finally:
            signal.signal(signal.SIGALRM, old)

    @pytest.mark.parametrize("number", [signal.SIGKILL, 0, 1000])
    def test_what_is_no_signal_that_can_be_handled_is_refused(self, loop, number):
        with pytest.raises((ValueError, RuntimeError)):
            loop.add_signal_handler(number, print)

    def test_a_coroutine_function_is_no_handler(self, loop):
        async def wrong():
            pass

        with pytest.raises(TypeError, match="coroutines"):
            loop.add_signal_handler(signal.SIGUSR1, wrong)


class TestCtrlC:
    def test_it_cancels_the_main_task_which_may_clean_up(self, kind, start):
        text = """
async def main():
    try:
        print("ready", flush=True)
        await asyncio.sleep(100)
    finally:
        print("cleaned", flush=True)
with asyncio.Runner(loop_factory=FACTORY) as runner:
    try:
        runner.run(main())
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
        running = start(program(kind, text))
        assert running.line() == "ready"
        running.interrupt()
        out, err, code = running.finish()
        assert (out, err, code) == ("cleaned\ninterrupted\n", "", 0)

    def test_it_ends_a_loop_whose_callbacks_never_end(self, kind, start):
        text = """
loop = FACTORY()
def again():
    loop.call_soon(again)
again()
loop.call_soon(lambda: print("ready", flush=True))
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("interrupted", flush=True)
loop.close()
"""
        running = start(program(kind, text))
        assert running.line() == "ready"
        running.interrupt()
        out, err, code = running.finish()
        assert (out, err, code) == ("interrupted\n", "", 0)

    def test_a_quiet_program_is_interrupted_without_a_handler(self, kind, start):
        text = """
loop = FACTORY()
loop.call_soon(lambda: print("ready", flush=True))
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("interrupted", flush=True)
loop.close()
"""
        running = start(program(kind, text))
        assert running.line() == "ready"
        running.interrupt()
        out, err, code = running.finish()
        assert (out, err, code) == ("interrupted\n", "", 0)


def test_a_child_of_fork_may_use_a_loop_of_its_own(kind, tmp_path):
    text = """
async def main():
    await asyncio.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            os._exit(9)
        async def child():
            await asyncio.sleep(0.01)
            return 7
        with asyncio.Runner(loop_factory=FACTORY) as runner:
            os._exit(runner.run(child()))
    _, status = os.waitpid(pid, 0)
    # The parent's loop still wakes up.
    threading.Timer(0.02, asyncio.get_running_loop().call_soon_threadsafe, [woken.set]).start()
    await woken.wait()
    return os.waitstatus_to_exitcode(status)
async def outer():
    global woken
    woken = asyncio.Event()
    return await asyncio.wait_for(main(), 20)
with asyncio.Runner(loop_factory=FACTORY) as runner:
    print(runner.run(outer()))
"""
    script = tmp_path / "script.py"
    script.write_text(program(kind, text))
    command = [sys.executable, "-W", "ignore::DeprecationWarning", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("7\n", "")

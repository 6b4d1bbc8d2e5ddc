"""Hosts that are guests of rdma-vm.sh, on one Ethernet segment, seen from outside: programs are
run in them, and they are switched off or stopped as a whole.

A Guest has a process of ours inside (this file's main), which does as it is told: a line of JSON
each, {"id", "words", "env"} in, {"id", "line"} and in the end {"id", "rc"} out."""
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 120


def new_wire():
    """For two guests: before two UDP ports that nobody has."""
    while True:
        with (socket.socket(type=socket.SOCK_DGRAM) as one,
              socket.socket(type=socket.SOCK_DGRAM) as two):
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port - 1


class Job:
    """What runs in a guest: the lines it has said, each with the time at which we had it."""

    def __init__(self, words):
        self.words = words
        self.said = []
        self.rc = None
        self.over = threading.Event()

    def text(self):
        return "".join(line for _, line in self.said)

    def wait(self, timeout=PATIENCE):
        if not self.over.wait(timeout):
            raise SystemExit(f"{' '.join(self.words)}: not over after {timeout} s\n{self.text()}")
        return self.rc

    def until(self, what, since=0.0, timeout=PATIENCE):
        """It says that; when."""
        end = time.monotonic() + timeout
        while (found := self.when(what, since)) is None:
            if self.over.wait(0.005) or time.monotonic() > end:
                raise SystemExit(f"{' '.join(self.words)}: never said {what!r}\n{self.text()}")
        return found

    def when(self, what, since=0.0):
        """When it said that, or None."""
        return next((t for t, line in self.said if t >= since and what in line), None)


class Guest:
    """Host @at (1 or 2) of the segment @wire; @env is for all that it runs. Has files in @base."""

    def __init__(self, wire, at, base, env, cpus=2, memory="1G"):
        self.address = f"10.77.0.{at}"
        self.end_of_wire = f"{at}:{wire}"
        self.pid_file, self.err_file = (os.path.join(base, f"{at}.{kind}") for kind in ("pid", "err"))
        self.env, self.cpus, self.memory = env, cpus, memory
        self.jobs = {}
        self.vm = None

    def boot(self):
        """Begins; what is to be run meanwhile waits until it is up."""
        self.jobs = {}
        with open(self.err_file, "a", encoding="utf-8") as err:
            self.vm = self.begin(err)
        threading.Thread(target=self.listen, args=(self.vm, self.jobs), daemon=True).start()

    def begin(self, err):
        return subprocess.Popen(
            [os.path.join(HERE, "rdma-vm.sh"), "-t", "500", "-c", str(self.cpus), "-m", self.memory, "-i",
             "-s", self.end_of_wire, "-P", self.pid_file, "/usr/bin/python3", "-u", os.path.abspath(__file__)],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err,
            start_new_session=True)

    def listen(self, vm, jobs):
        for line in vm.stdout:
            now = time.monotonic()
            try:
                told = json.loads(line)
            except ValueError:
                print(f"{self.address}: {line}", end="")
                continue
            job = jobs[told["id"]]
            if "line" in told:
                job.said.append((now, told["line"]))
            else:
                job.rc = told["rc"]
                job.over.set()
        for job in jobs.values():  # the guest is gone, and what ran there
            job.over.set()

    def start(self, *words):
        job = Job(words)
        number = len(self.jobs)
        self.jobs[number] = job
        self.vm.stdin.write(json.dumps({"id": number, "words": words, "env": self.env}) + "\n")
        self.vm.stdin.flush()
        return job

    def run(self, *words, check=True, timeout=PATIENCE):
        job = self.start(*words)
        if job.wait(timeout) != 0 and check:
            raise SystemExit(f"{self.address}: {' '.join(words)}: {job.rc}\n{job.text()}")
        return job

    def signal(self, sig):
        """To the machine itself; when that was."""
        with open(self.pid_file, encoding="ascii") as f:
            pid = int(f.read())
        now = time.monotonic()
        os.kill(pid, sig)
        return now

    def power_off(self):
        """It answers nobody any more; when that was."""
        now = self.signal(signal.SIGKILL)
        self.vm.wait(PATIENCE)
        return now

    def log(self, program):
        """What those have said whose path has that in it, and the machine itself."""
        with open(self.err_file, encoding="utf-8") as f:
            return f.read() + "".join(f"{t:.2f} {line}" for job in self.jobs.values()
                                      if program in job.words[0] and len(job.said) < 100
                                      for t, line in job.said)

    def close(self):
        if self.vm is None or self.vm.poll() is not None:
            return
        self.vm.terminate()
        self.vm.wait(PATIENCE)


# --- inside -------------------------------------------------------------------


def serve_job(told, say):
    try:
        with subprocess.Popen(told["words"], env={**os.environ, **told["env"]}, text=True,
                              errors="replace", stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
            for line in p.stdout:
                say({"id": told["id"], "line": line})
        say({"id": told["id"], "rc": p.returncode})
    except OSError as e:
        say({"id": told["id"], "line": str(e)})
        say({"id": told["id"], "rc": 127})


def main():
    out = queue.Queue()

    def speak():
        while True:
            print(json.dumps(out.get()), flush=True)

    threading.Thread(target=speak, daemon=True).start()
    for line in sys.stdin:
        threading.Thread(target=serve_job, args=(json.loads(line), out.put), daemon=True).start()


if __name__ == "__main__":
    main()

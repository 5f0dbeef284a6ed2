"""Time and peak memory of a run, whatever the memory of the script that asks."""

import os
import subprocess
import sys

# A process that is started from a large one counts the memory of that one as its own peak
# until it has its own program. So a small Python starts it.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], {"PATH": ""}, file_actions=[
    (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))
"""


def run(arguments):
    """Seconds and peak memory in MiB of a program, which must succeed."""
    words = [sys.executable, "-S", "-E", "-c", LAUNCHER, *map(str, arguments)]
    told = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds, memory, code = told.split()
    if code != "0":
        sys.exit(f"failed: {' '.join(map(str, arguments))}")
    return float(seconds), float(memory)

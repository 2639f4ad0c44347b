"""Start one command and report what it cost: run as a process of its own, with nothing imported that is not needed.

    python -I -S launcher.py OUTPUT COMMAND [ARGUMENT...]

The command's standard output goes to the file OUTPUT.  One line comes out: exit status, user seconds, system seconds,
peak resident set in KiB; all of the command and of the children that it waited for.  A process of its own, because
the kernel counts the memory of the process that starts a command into that command's peak: from a Python process
with numpy loaded every small command would seem to need 40 MB.
"""

import os
import sys


def main() -> None:
    """Run the command, wait for it, print its cost."""
    output, command = sys.argv[1], sys.argv[2:]
    actions = [(os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)]
    process = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(process, 0)
    print(os.waitstatus_to_exitcode(status), usage.ru_utime, usage.ru_stime, usage.ru_maxrss)


main()

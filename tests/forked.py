"""Kernels that are forked from one process that has imported what all of them import of others; the house's own they import.

What a kernel imports takes it longer than a section at preset smoke. What comes out is the same: a test compares a forked
run with one of a kernel of its own.
"""

import multiprocessing
import os
import time
from pathlib import Path

from jupyter_client.provisioning import local_provisioner

INLINE = "module://matplotlib_inline.backend_inline"
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["torch", "pandas", "scipy.stats", "sklearn.neighbors", "matplotlib.pyplot", "ipykernel.kernelapp"]
)


class Kernel:
    """A forked process, as jupyter_client handles a process."""

    stdin = stdout = stderr = None

    def __init__(self, process):
        self.process, self.pid = process, process.pid

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)


def launch(command, env, **_):
    """In place of jupyter_client's own function."""
    process = SERVER.Process(target=run, args=(command[3:], Path.cwd(), env))
    process.start()
    while os.getpgid(process.pid) != process.pid:  # until it leads a group, which may be sent signals
        time.sleep(0.001)
    return Kernel(process)


def run(arguments, cwd, env):
    """A kernel, in the forked process."""
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env, JPY_PARENT_PID=str(os.getppid()))
    IPKernelApp.launch_instance(["ipykernel_launcher", *arguments])


def forking(patch):
    """Let all kernels be forked, as long as a patch lasts."""
    patch.setenv("MPLBACKEND", INLINE)
    patch.setattr(local_provisioner, "launch_kernel", launch)

"""A process that has done nothing yet, and what the module, or one login through PAM, does to it. Prints JSON.

Usage: fresh.py load LIBRARY | fresh.py login CONFDIR SERVICE USER
"""

import ctypes
import json
import os
import resource
import sys
import time

PAM_RHOST = 4
PAM_CONV_ERR = 19

Talk = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class Conversation(ctypes.Structure):
    _fields_ = [("talk", Talk), ("data", ctypes.c_void_p)]


def memory():
    """Resident and private memory of this process, in kB."""
    with open("/proc/self/smaps_rollup") as file:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in file if line.rstrip().endswith("kB")}
    return {"rss_kb": sizes["Rss"], "private_kb": sizes["Private_Clean"] + sizes["Private_Dirty"]}


def cpu():
    """Milliseconds of CPU of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used) * 1e3


def pids():
    """The process id that was given away last in this namespace."""
    with open("/proc/sys/kernel/ns_last_pid") as file:
        return int(file.read())


def login(confdir, service, user):
    pam = ctypes.CDLL("libpam.so.0")
    handle = ctypes.c_void_p()
    conversation = Conversation(Talk(lambda *_: PAM_CONV_ERR), None)
    start = pam.pam_start_confdir
    start.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    names = [word.encode() for word in (service, user, confdir)]
    begun = time.monotonic()
    code = start(names[0], names[1], ctypes.byref(conversation), names[2], ctypes.byref(handle))
    assert code == 0, f"pam_start: {code}"
    pam.pam_set_item(handle, PAM_RHOST, b"127.0.0.1")
    code = pam.pam_acct_mgmt(handle, 0)
    returned = time.time()
    pam.pam_end(handle, code)
    return {"code": code, "ms": (time.monotonic() - begun) * 1e3, "returned_us": int(returned * 1e6)}


def load(library):
    ctypes.CDLL("libpam.so.0")
    begun = time.monotonic()
    ctypes.CDLL(library)
    return {"ms": (time.monotonic() - begun) * 1e3}


def main():
    work = {"load": load, "login": login}[sys.argv[1]]
    # What Python itself needs the first time is not to be counted.
    memory(), cpu(), pids()
    before, used, last = memory(), cpu(), pids()
    told = work(*sys.argv[2:])
    told.update(cpu_ms=cpu() - used, processes=pids() - last)
    told.update({key: size - before[key] for key, size in memory().items()})
    told["threads"] = len(os.listdir("/proc/self/task"))
    json.dump(told, sys.stdout)


main()

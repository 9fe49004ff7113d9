"""Which system calls a job may make: a filter that the kernel runs, for x86-64 and 64-bit ARM.

Refused is what could reach out of a jail, what hides memory from the limits, and what only the owner of a machine
needs. A jail without namespaces refuses more: what would reach other processes of the same user.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from perdure.tools.sandbox.jail import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SET_SECCOMP = 22
_FILTER = 2


_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
"""How filters know the architectures that there is one for. The columns below are in this order."""
_X32 = 0x4000_0000
"""From this number on, x86-64 kernels have another table of calls."""

# fmt: off
_REFUSED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "move_pages": (279, 239), "migrate_pages": (256, 238),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "open_by_handle_at": (304, 265), "fanotify_init": (300, 262), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "syslog": (103, 116), "acct": (163, 89), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "sethostname": (170, 161),
    "setdomainname": (171, 162), "vhangup": (153, 58), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "uselib": (134, None),
    # Memory that no process maps counts for none.
    "memfd_secret": (447, 447), "vmsplice": (278, 75), "io_setup": (206, 0),
    # What System V and POSIX queues know by number or name may be another's.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semctl": (66, 191),
    "semop": (65, 193), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
}
_UNKNOWN = {"clone3": (435, 435), "memfd_create": (319, 279)}
"""Said not to exist: programs have another way then, whose arguments can be looked at."""

_REACHES_OTHERS = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "setpgid": (109, 154), "setpriority": (141, 140), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    # Landlock looks at what is opened, and not at these.
    "truncate": (76, 45), "setxattr": (188, 5), "lsetxattr": (189, 6), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "chown": (92, None), "lchown": (94, None), "fchownat": (260, 54),
}
# fmt: on
_SESSIONS = {"setsid": (112, 157)}
"""Pretended everywhere: the scheduler gives each session as much as the whole server."""
_PRETENDED = {
    "chmod": (90, None),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
}
"""Said to be done, and not done: programs that copy files stop without them, and none needs their effect."""
_CLONE = (56, 220)
_SOCKET = (41, 198)
_SOCKETPAIR = (53, 199)
_PRLIMIT = (302, 261)
_MMAP = (9, 222)
_FCNTL = (72, 25)
_IOCTL = (16, 29)

_NEW_NAMESPACES = (
    system.NEW_MOUNTS | system.NEW_CGROUP | system.NEW_HOST_NAME | system.NEW_IPC | system.NEW_USER
    | system.NEW_PROCESSES | system.NEW_NETWORK | system.NEW_TIME
)  # fmt: skip
_FAMILIES = (1, 2, 10, 16)
"""Unix, IPv4, IPv6, netlink. Others lead past a network namespace."""
_INTERNET = (2, 10, 16)
_STREAM = 1
_SHARING = 0x2F
_SHARED_ANONYMOUS = (0x21, 0x23)
"""How memory is asked for that stays when it is unmapped in part, or let go of, and counts for no process then."""
_OWNER_BY_FCNTL = (8, 15)
_OWNER_BY_IOCTL = (0x8901, 0x8902)
"""Who is sent a signal once a file can be read: that may be any process of the user."""
_STEP = struct.Struct("HBBI")

_LOAD = 0x20
_AND = 0x54
_IF_EQUAL = 0x15
_IF_ANY = 0x45
_IF_AT_LEAST = 0x35
_RETURN = 0x06
_ALLOW = 0x7FFF_0000
_REFUSE = 0x0005_0000
_KILL = 0x8000_0000
_NUMBER = 0
_ARCHITECTURE = 4
_ARGUMENTS = 16

_Step = tuple[int, int, int, int]
"""One instruction: code, how many to skip where its test holds, how many where not, operand."""


def is_known_machine() -> bool:
    """Whether there is a filter for this architecture."""
    return os.uname().machine in _ARCHITECTURES


def refuse_calls(*, shared: bool, network: bool) -> None:
    """Put the filter in force, for this process and all it starts. Needs `system.drop_privileges` before it.

    `shared` is a job among other processes of its user, with nothing but this between them; without `network` it
    can make no socket at all. Any other has namespaces of its own for both.
    """
    families = _FAMILIES if not shared else _INTERNET if network else ()
    steps = _program(os.uname().machine, families, shared=shared)
    body = b"".join(_STEP.pack(*step) for step in steps)
    held = ctypes.create_string_buffer(body, len(body))
    head = _Program(len(steps), ctypes.addressof(held))
    system.prctl(_SET_SECCOMP, _FILTER, ctypes.addressof(head))


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]


def _program(machine: str, families: tuple[int, ...], *, shared: bool) -> list[_Step]:
    column = list(_ARCHITECTURES).index(machine)
    known = _ARCHITECTURES[machine]
    steps: list[_Step] = [(_LOAD, 0, 0, _ARCHITECTURE), (_IF_EQUAL, 1, 0, known), (_RETURN, 0, 0, _KILL)]
    steps.append((_LOAD, 0, 0, _NUMBER))
    if column == 0:
        steps += [(_IF_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)]

    def refuse(table: Mapping[str, tuple[int, int | None]], error: int) -> None:
        for numbers in table.values():
            if (number := numbers[column]) is not None:
                steps.extend([(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE | error)])

    def look(numbers: tuple[int, int], argument: int, tests: list[_Step], error: int) -> None:
        """Decide by the lower half of an argument: what skips the instruction behind `tests` is allowed."""
        body: list[_Step] = [
            (_LOAD, 0, 0, _ARGUMENTS + 8 * argument), *tests, (_RETURN, 0, 0, _REFUSE | error), (_RETURN, 0, 0, _ALLOW)
        ]  # fmt: skip
        steps.extend([(_IF_EQUAL, 0, len(body), numbers[column]), *body])

    refuse(_REFUSED, errno.EPERM)
    refuse(_UNKNOWN, errno.ENOSYS)
    refuse(_SESSIONS, 0)
    look(_MMAP, 3, [(_AND, 0, 0, _SHARING), *_any_of(_SHARED_ANONYMOUS)], errno.EPERM)
    look(_CLONE, 0, [(_IF_ANY, 0, 1, _NEW_NAMESPACES)], errno.EPERM)
    count = len(families)
    tests: list[_Step] = [(_IF_EQUAL, count - at, 0, family) for at, family in enumerate(families)]
    look(_SOCKET, 0, tests, errno.EAFNOSUPPORT)
    if shared:
        refuse(_REACHES_OTHERS, errno.EPERM)
        refuse(_PRETENDED, 0)
        look(_FCNTL, 1, _any_of(_OWNER_BY_FCNTL), errno.EPERM)
        look(_IOCTL, 1, _any_of(_OWNER_BY_IOCTL), errno.EPERM)
        look(_PRLIMIT, 0, [(_IF_EQUAL, 1, 0, 0)], errno.EPERM)
        # A pair of streams leads nowhere else; of datagrams either could be sent to any socket with a name.
        look(_SOCKETPAIR, 1, [(_AND, 0, 0, 0xF), (_IF_EQUAL, 1, 0, _STREAM)], errno.EPERM)
    steps.append((_RETURN, 0, 0, _ALLOW))
    return steps


def _any_of(values: tuple[int, int]) -> list[_Step]:
    """Tests that let pass whatever is neither of two values."""
    return [(_IF_EQUAL, 1, 0, values[0]), (_IF_EQUAL, 0, 1, values[1])]

"""System calls that Python's os module does not have."""

import contextlib
import ctypes
import fcntl
import os
import struct

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_COLLAPSE_RANGE, FALLOC_ZERO_RANGE = 1, 2, 8, 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_AT_FDCWD = -100


def _check(result, path):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def renameat2(old, new, flags):
    _check(_libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags), new)


def fallocate(descriptor, mode, offset, length):
    _check(_libc.fallocate(descriptor, mode, offset, length), descriptor)


# ---- inode flags: chattr(1) and lsattr(1)

FS_SECRM, FS_IMMUTABLE, FS_APPEND = 0x01, 0x10, 0x20
_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602
_FSGETXATTR, _FSSETXATTR = 0x801C581F, 0x401C5820


def get_flags(path):
    with opened(path) as file:
        return struct.unpack("=I", fcntl.ioctl(file, _GETFLAGS, bytes(8))[:4])[0]


def set_flags(path, flags):
    with opened(path) as file:
        fcntl.ioctl(file, _SETFLAGS, struct.pack("=Q", flags))


def get_fsxattr(path):
    with opened(path) as file:
        return struct.unpack("=IIIII8x", fcntl.ioctl(file, _FSGETXATTR, bytes(28)))


def set_fsxattr(path, xflags, extsize=0):
    with opened(path) as file:
        fcntl.ioctl(file, _FSSETXATTR, struct.pack("=IIIII8x", xflags, extsize, 0, 0, 0))


@contextlib.contextmanager
def opened(path, flags=os.O_RDONLY):
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def link_descriptor(descriptor, path):
    """linkat(2) of an open file, by /proc: os.link() does not follow the link there."""
    follow = 0x400
    _check(_libc.linkat(_AT_FDCWD, os.fsencode(f"/proc/self/fd/{descriptor}"), _AT_FDCWD,
                        os.fsencode(path), follow), path)

"""What the system tests stand on: private PostgreSQL clusters, a proxy that delays and cuts, and the
real programs of a build.

    wait     conditions with a deadline, instead of sleeping
    process  programs that are ended by their process id, whatever the test did
    port     ports that belong to one test
    cluster  a private PostgreSQL cluster on a port of its own
    proxy    a TCP proxy that understands PostgreSQL's messages
    locker   processes that lock files on command; locking: what their tests share
    syscalls the calls that Python's os module lacks
    tree     what a directory tree shows, as data that can be compared
    volume   formatting, mounting and restoring volumes
    check    is a volume's metadata consistent with itself?
    load     workers whose outcome is known exactly
    site     a primary, a mirror and their daemons
    fixtures the pytest fixtures; a conftest.py imports them all
"""

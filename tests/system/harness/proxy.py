"""A TCP proxy in front of PostgreSQL: it delays, cuts, swallows and counts.

It reads the client's messages (frontend/backend protocol 3.0, no TLS) as they pass, so a test can
say "lose the answer of the next call of tarn_1.unlink": the request is forwarded, the server
carries it out and commits, and only then both ends are closed without the client having seen a
byte of the answer.

One exchange is what a client sends up to a Sync or as a simple Query, with its answer.
"""

import queue
import socket
import struct
import threading
import time

from .port import Port

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102


class Exchange:
    """One request of a client: when, on which connection, and the SQL that it ran."""

    def __init__(self, connection, texts):
        self.connection = connection
        self.texts = texts
        self.at = time.monotonic()

    def __repr__(self):
        return f"#{self.connection}: {'; '.join(self.texts)}"


class _Frontend:
    """Follows a client's byte stream: the statements it prepares and the exchanges it begins."""

    def __init__(self):
        self.buffer = b""
        self.is_started = False
        self.prepared = {}
        self.texts = []

    def feed(self, data):
        """Give (end offset in data, texts) of every exchange that ends in data."""
        before = len(self.buffer)
        self.buffer += data
        position, done = 0, []
        while True:
            size = self._message_size(position)
            if size is None or position + size > len(self.buffer):
                break
            if self._message(position, size):
                done.append((position + size - before, self.texts))
                self.texts = []
            position += size
        self.buffer = self.buffer[position:]
        return done

    def _message_size(self, at):
        head = 1 if self.is_started else 0
        if len(self.buffer) < at + head + 4:
            return None
        return head + struct.unpack_from("!i", self.buffer, at + head)[0]

    def _message(self, at, size):
        """Note one message; true when it ends an exchange."""
        if not self.is_started:
            code = struct.unpack_from("!i", self.buffer, at + 4)[0]
            self.is_started = code not in (_SSL, _GSS, _CANCEL)
            return False
        kind = self.buffer[at:at + 1]
        body = self.buffer[at + 5:at + size]
        if kind == b"P":
            name, text = body.split(b"\0")[:2]
            self.prepared[name] = text.decode(errors="replace")
        elif kind == b"B":
            name = body.split(b"\0")[1]
            self.texts.append(self.prepared.get(name, "?"))
        elif kind == b"Q":
            self.texts.append(body.rstrip(b"\0").decode(errors="replace"))
            return True
        return kind == b"S"


class _Backend:
    """Follows a server's byte stream for ReadyForQuery, which comes after the COMMIT."""

    def __init__(self):
        self.buffer = b""

    def ready_count(self, data):
        self.buffer += data
        count = 0
        while len(self.buffer) >= 5:
            if self.buffer[:1] in (b"N", b"S") and not self._looks_framed():
                self.buffer = self.buffer[1:]  # the one-byte answer to SSLRequest
                continue
            size = 1 + struct.unpack_from("!i", self.buffer, 1)[0]
            if size > len(self.buffer):
                break
            count += self.buffer[:1] == b"Z"
            self.buffer = self.buffer[size:]
        return count

    def _looks_framed(self):
        size = struct.unpack_from("!i", self.buffer, 1)[0]
        return 4 <= size < 1 << 24


_READY_BYTES = 6  # of a ReadyForQuery


class _Link:
    """One client connection and its way to the server."""

    def __init__(self, proxy, number, client, server):
        self.proxy, self.number = proxy, number
        self.client, self.server = client, server
        self.frontend, self.backend = _Frontend(), _Backend()
        self.requests = 0   # exchanges begun
        self.answers = 0    # ReadyForQuery after start-up seen
        self.lost = None    # the answer of this exchange and all after it is not delivered
        self.is_closed = False
        self.is_ending = False  # what is pending is delivered, and then nothing

    def begin(self):
        for source, target, inspect in ((self.client, self.server, self._upstream),
                                        (self.server, self.client, self._downstream)):
            pending = queue.Queue(1024)
            threading.Thread(target=self._read, args=(source, pending, inspect), daemon=True).start()
            threading.Thread(target=self._write, args=(target, pending), daemon=True).start()

    def close(self):
        self.is_closed = True
        for end in (self.client, self.server):
            try:
                # A reset, as of a network that went away, rather than an orderly end.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def _read(self, source, pending, inspect):
        try:
            while not self.is_closed:
                data = source.recv(65536)
                if not data:
                    break
                due, kept = inspect(data)
                if kept:
                    pending.put((due, kept))
                if self.is_ending:
                    break
        except OSError:
            pass
        pending.put((0, None))

    def _write(self, target, pending):
        while True:
            due, data = pending.get()
            if data is None or self.is_closed:
                self.close()
                return
            rest = due - time.monotonic()
            if rest > 0:
                time.sleep(rest)
            self.proxy.wait_while_held()
            try:
                target.sendall(data)
            except OSError:
                self.close()
                return

    def _upstream(self, data):
        for _, texts in self.frontend.feed(data):
            self.requests += 1
            if self.proxy.saw(self, texts) and self.lost is None:
                self.lost = self.requests
        return time.monotonic() + self.proxy.delay_up, data

    def _downstream(self, data):
        if self.proxy.budget_spent(len(data)):
            self.close()
            return 0, None
        if self.proxy.cuts_ready(data):
            self.is_ending = True
            return 0, data[:-_READY_BYTES]
        self.answers += self.backend.ready_count(data)
        if self.lost is None:
            return time.monotonic() + self.proxy.delay_down, data
        # The first ReadyForQuery ends the start-up; after it each exchange has one.
        if self.answers - 1 >= self.lost:
            self.proxy.lost_one(self)
        return 0, None


class Proxy:
    """Forward 127.0.0.1:port to 127.0.0.1:target_port until closed."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.delay_up = self.delay_down = 0.0
        self._lock = threading.Lock()
        self._links, self._numbers = [], 0
        self._exchanges = []
        self._rules = []
        self._then_refuse = False
        self._lost = threading.Event()
        self._flow = threading.Event()
        self._flow.set()
        self._budget = None
        self._unready = None
        self._listener = None
        self._kept_port = Port()
        self.port = self._kept_port.number
        self.accept()

    # ---- what a test does to the line

    def delay(self, seconds_up, seconds_down=None):
        """Delay each direction; bytes in flight keep their order."""
        self.delay_up = seconds_up
        self.delay_down = seconds_up if seconds_down is None else seconds_down

    def cut(self):
        """Reset all connections now; new ones are still accepted."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.close()

    def refuse(self):
        """Reset all connections and refuse new ones."""
        if self._listener:
            # shutdown() wakes the accepting thread; close() alone would leave it listening.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def accept(self):
        """Listen (again) on the same port."""
        if self._listener:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(256)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def hold(self):
        """A black hole: connections stay open and nothing passes, either way."""
        self._flow.clear()

    def release(self):
        self._flow.set()

    def cut_after(self, byte_count):
        """Reset everything once the server has answered that many more bytes."""
        with self._lock:
            self._budget = byte_count

    def cut_before_ready(self, containing):
        """Deliver the next answer with these bytes but for its end, and reset the connection."""
        with self._lock:
            self._unready = containing

    def lose_answer(self, containing, nth=1, then_refuse=False):
        """Lose the answer of the n-th exchange from now whose SQL contains the text.

        then_refuse: nobody gets through afterwards until accept(), so that a test can act before
        the client asks again.
        """
        with self._lock:
            self._lost.clear()
            self._rules.append([containing, nth])
            self._then_refuse = then_refuse

    def stop_losing(self):
        with self._lock:
            self._rules.clear()
            self._then_refuse = False

    def wait_lost(self, timeout=60.0):
        """Wait until an answer was lost; then the server has committed."""
        if not self._lost.wait(timeout):
            self.stop_losing()
            raise AssertionError("no exchange of the expected kind passed")

    # ---- what passed

    def exchanges(self, containing=""):
        with self._lock:
            return [e for e in self._exchanges if any(containing in t for t in e.texts or [""])]

    def forget(self):
        with self._lock:
            self._exchanges.clear()

    def connection_count(self):
        with self._lock:
            return sum(not link.is_closed for link in self._links)

    def close(self):
        self.release()
        self.refuse()
        self._kept_port.close()

    # ---- called by the links

    def saw(self, link, texts):
        """Note an exchange; true when its answer is to be lost."""
        with self._lock:
            self._exchanges.append(Exchange(link.number, texts))
            for rule in self._rules:
                if any(rule[0] in text for text in texts):
                    rule[1] -= 1
                    if rule[1] == 0:
                        self._rules.remove(rule)
                        return True
        return False

    def lost_one(self, link):
        # First nobody gets in, then the client learns of it: it comes back at once.
        if self._then_refuse:
            self.refuse()
        link.close()
        self._lost.set()

    def wait_while_held(self):
        self._flow.wait()

    def cuts_ready(self, data):
        with self._lock:
            if self._unready is None or self._unready not in data:
                return False
            self._unready = None
            return True

    def budget_spent(self, count):
        with self._lock:
            if self._budget is None:
                return False
            self._budget -= count
            if self._budget >= 0:
                return False
            self._budget = None
            return True

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), timeout=10)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end.settimeout(None)
            with self._lock:
                self._numbers += 1
                link = _Link(self, self._numbers, client, server)
                self._links = [l for l in self._links if not l.is_closed] + [link]
            link.begin()

"""Histories of what clients did and saw, and whether one order of all of it explains them.

A history is a list of Event: an operation with its answer and the times at which it was asked and
answered. An object is a state machine: it gives for each operation the state after it, or None when the
answer cannot be. linearizable() looks for an order that keeps every operation within its own times
(Wing and Gong's search, with the states that were met before remembered).
"""

import threading
import time


class Event:
    def __init__(self, client, operation, answer, asked, answered):
        self.client, self.operation, self.answer = client, operation, answer
        self.asked, self.answered = asked, answered

    def __repr__(self):
        return (f"{self.client} {self.operation} -> {self.answer!r}"
                f" [{self.asked:.4f}..{self.answered:.4f}]")


class History:
    """Recorded by several threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self.events = []

    def record(self, client, operation, act):
        """Run act() and note its answer."""
        asked = time.monotonic()
        answer = act()
        answered = time.monotonic()
        with self._lock:
            self.events.append(Event(client, operation, answer, asked, answered))
        return answer

    def of(self, client):
        return [event for event in self.events if event.client == client]


def directory(state, operation, answer):
    """A set of names: create NAME (an exclusive one), rename FROM TO, list."""
    verb, *names = operation
    if verb == "list":
        return state if answer == state else None
    if verb == "create":
        if answer == "EEXIST":
            return state if names[0] in state else None
        return state | {names[0]} if names[0] not in state else None
    if answer == "ENOENT":
        return state if names[0] not in state else None
    return state - {names[0]} | {names[1]} if names[0] in state else None


def register(state, operation, answer):
    """A value: write VALUE, read."""
    if operation[0] == "write":
        return operation[1]
    return state if answer == state else None


def log(state, operation, answer):
    """A file that is appended to under a lock: append LINE, read."""
    if operation[0] == "append":
        return state + (operation[1],)
    return state if answer == state else None


def linearizable(events, step, start):
    """Is there an order? The machine step(state, operation, answer) begins in start."""
    events = sorted(events, key=lambda event: event.asked)
    seen = set()
    stack = [(0, start)]
    whole = (1 << len(events)) - 1
    while stack:
        done, state = stack.pop()
        if done == whole:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        stack += _next(events, step, done, state)
    return False


def _next(events, step, done, state):
    """What may come next: whatever was asked before the first of the others was answered."""
    open_events = [(i, e) for i, e in enumerate(events) if not done >> i & 1]
    limit = min(e.answered for _, e in open_events)
    for i, event in open_events:
        if event.asked > limit:
            return
        after = step(state, event.operation, event.answer)
        if after is not None:
            yield done | 1 << i, after


def session_breaches(events):
    """What one client saw out of order: a log that shrank or changed, or lacks its own lines.

    events are those of the client on one log, in its order.
    """
    breaches, last, own = [], (), []
    for event in events:
        if event.operation[0] == "append":
            own.append(event.operation[1])
            continue
        if event.answer[:len(last)] != last:
            breaches.append(f"went back from {len(last)} lines: {event}")
        if not set(own) <= set(event.answer):
            breaches.append(f"lacks {sorted(set(own) - set(event.answer))}: {event}")
        last = event.answer
    return breaches

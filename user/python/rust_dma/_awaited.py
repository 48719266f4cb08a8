"""Requests that coroutines await."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from rust_dma import _process
from rust_dma._descriptor import Closed
from rust_dma._request import FIRST_AWAITED, Completion, Request

if TYPE_CHECKING:
    from rust_dma._context import Context

T = TypeVar("T")
V = TypeVar("V")


class Awaited:
    """The requests of a context that coroutines await, by cookie, and the coroutines that wait for any other completion.

    As long as there is one, the event loop watches the node. The buffers of a request are kept until it is completed, even if the
    coroutine has been cancelled. This has no reference to the context, so that a context that is dropped is closed at once.
    """

    def __init__(self) -> None:
        self._cookies = _new_cookies()
        self._requests: dict[int, tuple[asyncio.Future[Completion], Request]] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = -1  # the node that the event loop watches
        self._process = _process.current()

    async def run(self, context: Context, request: Request) -> Completion:
        """Submit a request and wait for its completion. If this is cancelled, so is the request, unless the engine has begun it."""
        future: asyncio.Future[Completion] = self._watch(context).create_future()
        cookie = next(self._cookies)
        self._requests[cookie] = future, request
        try:
            while not context._submit_awaited(request, cookie):
                await self.next(context)
        except BaseException:
            self._requests.pop(cookie, None)
            self._ignore_if_idle()
            raise
        try:
            completion = await future
            self._requests.pop(cookie, None)  # `deliver`, in another thread, may not have come to this yet
            return completion
        except asyncio.CancelledError:
            with suppress(OSError, ValueError):  # it has begun, or the context is closed
                context._cancel(cookie)
            raise
        finally:
            self._ignore_if_idle()

    async def next(self, context: Context) -> None:
        """Wait until completions have been collected."""
        future: asyncio.Future[None] = self._watch(context).create_future()
        self._waiters.add(future)
        try:
            await future
        finally:
            self._waiters.discard(future)
            self._ignore_if_idle()

    def deliver(self, completion: Completion) -> None:
        """Finish the request with this cookie. From any thread."""
        # A signal handler may raise an exception before any line: then this is called again, which must find the future.
        future, _ = self._requests.get(completion.cookie, (None, None))
        if future is not None:
            _soon(future, _finish, completion)
            self._requests.pop(completion.cookie, None)

    def wake(self) -> None:
        """Let all coroutines in `next` continue, because completions have been collected. From any thread."""
        for waiter in list(self._waiters):
            _soon(waiter, _finish, None)

    def deliver_soon(self, context: Context) -> None:
        """Let the event loop continue a delivery that a signal handler has ended: the node may not become readable again."""
        if self._loop is not None and self._is_own():
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._deliver, context)

    def close(self) -> None:
        """Fail all requests that coroutines await, because the context is about to be closed."""
        if self._is_own():
            self._fail(ValueError("the context is closed"))

    def _watch(self, context: Context) -> asyncio.AbstractEventLoop:
        """Let the current event loop watch the node."""
        loop = asyncio.get_running_loop()
        if not self._is_own():
            self._cookies = _new_cookies()
        if self._loop is not None and (self._loop.is_closed() or not self._is_own()):
            self._requests.clear()
            self._waiters.clear()
            self._loop = None
        if self._loop is None:
            self._watched = context.fileno()
            loop.add_reader(self._watched, self._readable, context)
            self._loop, self._process = loop, _process.current()
        elif self._loop is not loop:
            raise RuntimeError("requests of this context are being awaited in another event loop")
        return loop

    def _readable(self, context: Context) -> None:
        """There are completions, or the device is gone."""
        try:
            context._collect()
        except (OSError, Closed) as error:  # or another thread closes the context
            self._fail(error)
            return
        self._ignore_if_idle()

    def _deliver(self, context: Context) -> None:
        context._deliver()
        self._ignore_if_idle()

    def _is_own(self) -> bool:
        """Whether this process watches the node. A child of fork(2) shares what the event loop of its parent watches (epoll)."""
        return self._process == _process.current()

    def _ignore_if_idle(self) -> None:
        if not self._requests and not self._waiters and self._loop is not None and self._is_own():
            loop, self._loop = self._loop, None
            if not loop.is_closed():
                loop.remove_reader(self._watched)

    def _fail(self, error: Exception) -> None:
        for waiter in self._waiters:
            _soon(waiter, _break, error)
        for future, _ in self._requests.values():
            _soon(future, _break, error)
        self._waiters.clear()
        self._requests.clear()
        self._ignore_if_idle()


def _new_cookies() -> Iterator[int]:
    """Cookies from a random one on: those of another process that shares the context are different."""
    return itertools.count(FIRST_AWAITED + (int.from_bytes(os.urandom(8)) >> 2))


def _soon(future: asyncio.Future[T], action: Callable[[asyncio.Future[T], V], None], value: V) -> None:
    """Do this in the event loop of a future, from any thread."""
    with suppress(RuntimeError):  # it is closed
        future.get_loop().call_soon_threadsafe(action, future, value)


def _finish(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _break(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)

"""Serve the page on this machine until Ctrl-C."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import threading
import webbrowser

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from contextual_gan.joint import DIRECTIONS
from contextual_gan.web.guard import is_loopback

HEADER_SECONDS = 10  # until the head of a request must have arrived
IDLE_SECONDS = 30  # for which a connection is kept between two requests
MOST_CONNECTIONS = 512


class Protocol(H11Protocol):
    """HTTP/1.1 with a time limit for the head of a request; plain uvicorn waits for it forever."""

    _deadline = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc):
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data):
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._stop_waiting()

    def _wait(self):
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _stop_waiting(self):
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """uvicorn's server, except that Ctrl-C and SIGTERM end it at once with status 0."""

    @contextlib.contextmanager
    def capture_signals(self):
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)
        yield

    def stop(self):
        """End soon, without waiting for unfinished responses. Call it in the thread of the loop."""
        self.should_exit = self.force_exit = True
        for task in list(self.server_state.tasks):
            task.cancel()


def listen(host, port):
    """A socket bound to a host and port (0: any free port). Raises ValueError, in one line, if that fails."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise ValueError(f"there is no host {host}: give an address of this machine with --host") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)  # fails where another program listens; asyncio listens again, with a longer queue
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port {port} is in use: end the program using it, or give another with --port") from None
        if error.errno == errno.EACCES:
            raise ValueError(f"port {port} is not allowed: give one from 1024 on with --port") from None
        raise ValueError(f"{host} port {port}: {error.strerror}; give another --host or --port") from None
    return listener


def address(listener, host):
    """The URL of a server listening on `host`."""
    port = listener.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):  # all addresses of this machine
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def server(app):
    """A `Server` of an ASGI application."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)  # the guard reports errors, in one line
    return Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            limit_concurrency=MOST_CONNECTIONS,
            h11_max_incomplete_event_size=16 * 1024,
        )
    )


def serve(live, listener, host, *, about="", browser=False, debug=False):
    """Serve the page for one `completion.live.Live` on a socket of `listen(host, ...)` until Ctrl-C or SIGTERM.

    about: description of the weights. browser: open the page if there is a screen.
    """
    from contextual_gan.web.app import application

    app, queue = application(live, host, about=about, debug=debug)
    url = address(listener, host)
    if not is_loopback(host):
        print(
            f"warning: everybody who can reach {host} can use this page, without encryption. Without --host, only this "
            "machine can",
            file=sys.stderr,
        )
    print(f"draw at {url} (Ctrl-C ends it)", flush=True)
    if browser:
        open_browser(url)
    for direction in DIRECTIONS:
        queue.start("model", live.warm, direction)  # while the page opens
    try:
        asyncio.run(server(app).serve([listener]))
    finally:
        queue.close()


def open_browser(url):
    """Open a page in the user's browser if there is a screen; a text browser would take over the terminal."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

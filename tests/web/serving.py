"""The page's server in this process, with the published networks."""

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection

from contextual_gan.completion.live import Live
from contextual_gan.web.app import application
from contextual_gan.web.server import listen, server


@dataclass(frozen=True)
class Site:
    """A running server."""

    live: Live
    port: int

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def request(self, method, path, body=None, headers=()):
        """(status, headers, body) of a request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def post(self, path, body=b"", headers=()):
        return self.request("POST", path, body, headers)


@contextmanager
def serving():
    """A `Site` with the published networks, on a free port."""
    live = Live("celeba")
    app, queue = application(live, "127.0.0.1")
    listener = listen("127.0.0.1", 0)
    site, running = Site(live, listener.getsockname()[1]), server(app)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(running.serve([listener]),))
    thread.start()
    try:
        yield site
    finally:
        loop.call_soon_threadsafe(running.stop)
        thread.join(30)
        queue.close()
    assert not thread.is_alive()

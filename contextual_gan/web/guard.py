"""The checks of every request, and the limits of every response.

Pages on other sites must not use this server, neither by a request (Origin) nor by a host name that they point to
this machine (Host; DNS rebinding). No response takes longer than `SECONDS`, and none contains a traceback or a path.
"""

import asyncio
import ipaddress
import socket
import sys
import traceback

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

SECONDS = 180  # for a whole request, including a search in the queue
SEND_SECONDS = 15  # for a part of a response that a client does not accept
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]


class Refused(Exception):
    """A refused request: its HTTP status and a one-line reason for the page."""

    def __init__(self, status, line):
        super().__init__(line)
        self.status = status


def is_loopback(host):
    """Whether only this machine can reach a host, given as a name or an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def known_hosts(bound):
    """is_known(name): whether requests may use this name for the server bound to this host.

    An address cannot be rebound. So if others may reach the server, any address is accepted, but only two names: the
    given one and the machine's.
    """
    names = {"localhost", bound.lower()} | (set() if is_loopback(bound) else {socket.gethostname().lower()})

    def is_known(name):
        try:
            return ipaddress.ip_address(name).is_loopback or not is_loopback(bound)
        except ValueError:
            return name in names

    return is_known


def host_name(header):
    """The name or address of a Host header without the port, in lower case: "[::1]:8000" -> "::1"."""
    header = header.lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


class Guard:
    """An ASGI application around another: see above. debug: print tracebacks."""

    def __init__(self, app, bound, debug=False):
        self.app, self.is_known, self.debug = app, known_hosts(bound), debug

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return  # there are no WebSockets here
        is_begun = False

        async def send_safely(message):
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        try:
            async with asyncio.timeout(SECONDS):
                self._check(dict(scope["headers"]))
                await self.app(scope, receive, send_safely)
            return
        except Refused as error:
            answer = error.status, str(error)
        except TimeoutError:
            answer = 408, "This took too long; try again."
        except ClientDisconnect:
            return
        except Exception as error:
            self._report(error)
            answer = 500, "Something went wrong in the server; see its terminal for details."
        if not is_begun:  # otherwise the connection is closed, which the page reports
            await refusal(*answer)(scope, receive, send_safely)

    def _check(self, headers):
        """Raise `Refused` for a request from elsewhere."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not self.is_known(host_name(host)):
            raise Refused(421, "This server has another name; open the address that it printed.")
        origin = headers.get(b"origin")  # browsers send it with every POST; other clients need not
        if origin is not None and origin.decode("latin-1").lower() != f"http://{host.lower()}":
            raise Refused(403, "Requests from other sites are refused.")
        if headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site") and (
            headers.get(b"sec-fetch-mode") != b"navigate"
        ):
            raise Refused(403, "Requests from other sites are refused.")

    def _report(self, error):
        if self.debug:
            traceback.print_exception(error)
        line = " ".join(str(error).split())[:200]
        print(f"a request failed: {type(error).__name__}: {line}", file=sys.stderr, flush=True)


def refusal(status, line):
    """The response to a refused request; it closes the connection, as the body may be unread."""
    return JSONResponse({"error": line}, status, {"connection": "close", "cache-control": "no-store"})

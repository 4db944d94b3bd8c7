"""Request bodies, limited in size, in time, and in total memory."""

import asyncio
from contextlib import asynccontextmanager

from contextual_gan.web.guard import Refused

SECONDS = 20  # until a body must have arrived
MOST_DISCARDED = 30 * 10**6  # bytes to receive and discard of a body that is too long
MOST_BYTES = 160 * 10**6  # of all bodies held at the same time


class Bodies:
    """Reads bodies and counts the bytes held."""

    def __init__(self):
        self._held = 0

    @asynccontextmanager
    async def read(self, request, limit):
        """Yield the body, at most `limit` bytes. Raises `Refused` if it is too long or slow, or too many are held.

        A body slightly over the limit is still received and discarded: a browser that is cut off shows no response.
        """
        declared = request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and int(declared) > limit + MOST_DISCARDED:
            raise _too_long(limit)
        parts, size, held = [], 0, 0
        try:
            try:
                async with asyncio.timeout(SECONDS):
                    async for part in request.stream():
                        size += len(part)
                        if size > limit + MOST_DISCARDED:
                            raise _too_long(limit)
                        if size > limit:
                            parts.clear()
                            continue
                        held, self._held = held + len(part), self._held + len(part)
                        if self._held > MOST_BYTES:
                            raise Refused(503, "Too many pictures are being sent at once. Try again in a moment.")
                        parts.append(part)
                if size > limit:
                    raise _too_long(limit)
            except TimeoutError:
                raise Refused(408, "The picture took too long to arrive.") from None
            yield b"".join(parts)
        finally:
            self._held -= held


def _too_long(limit):
    size = f"{limit / 1e6:.0f} MB" if limit >= 10**6 else f"{limit:,} bytes"
    return Refused(413, f"This is too large: the limit is {size}.")

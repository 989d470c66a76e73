"""An event service that greets each connection with a snapshot, then sends changes as they are posted.

Arguments: the port, and the number of changes made so far."""

import asyncio
import sys

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

changes = int(sys.argv[2])
connections = 0
readers: set[asyncio.Queue] = set()


async def events(request):
    global connections
    connections += 1
    queue: asyncio.Queue = asyncio.Queue(1000)
    snapshot = changes
    readers.add(queue)

    async def stream():
        try:
            yield {"event": "snapshot", "data": str(snapshot)}
            while True:
                yield {"data": str(await queue.get())}
        finally:
            readers.discard(queue)

    return EventSourceResponse(stream())


async def change(request):
    global changes
    changes += 1
    for queue in readers:
        queue.put_nowait(changes)
    return JSONResponse(changes)


async def state(request):
    return JSONResponse({"connections": connections, "readers": len(readers)})


app = Starlette(
    routes=[
        Route("/v1/events", events),
        Route("/change", change, methods=["POST"]),
        Route("/state", state),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")

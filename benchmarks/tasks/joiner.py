"""`python -m benchmarks.tasks.joiner ROUTER REQUEST`: joins the task again and again and leaves; says how long each
join took, in seconds as a JSON list, once it is told to stop (a line, or the end, of stdin).

A process of its own, because the crowd's is sent every word as often as it has callers: it would measure itself.
"""

import asyncio
import json
import sys
import threading
import time

from grpc import aio

from agentring.v1 import task_pb2, task_pb2_grpc
from harness.client import connect

EVERY_S = 0.02


async def join_until_stopped(router: str, request: task_pb2.RunTaskRequest) -> list[float]:
    """Every join's time from the call to its first answer; one that is refused is tried again, and its time goes on."""
    stop, loop, took_s = asyncio.Event(), asyncio.get_running_loop(), []

    def read() -> None:
        sys.stdin.readline()
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=read, daemon=True).start()
    async with connect(router) as channel:
        stub = task_pb2_grpc.TaskServiceStub(channel)
        while not stop.is_set():
            began_s = time.perf_counter()
            while not stop.is_set():
                call = stub.RunTask(request, timeout=60)
                try:
                    await call.read()
                except aio.AioRpcError:
                    await asyncio.sleep(EVERY_S)
                else:
                    took_s.append(time.perf_counter() - began_s)
                    call.cancel()
                    break
            await asyncio.sleep(EVERY_S)
    return took_s


if __name__ == "__main__":
    asked = task_pb2.RunTaskRequest.FromString(bytes.fromhex(sys.argv[2]))
    print(json.dumps(asyncio.run(join_until_stopped(sys.argv[1], asked))))

"""A client of its own process: prints the change, the state and the clock whenever one of the first two is new.

python -m tests.faults.follower ADDRESS
"""

import asyncio
import json
import sys
import time

from providerd import Client


async def follow(address: str) -> None:
    """Watches until killed."""
    async with Client(address, heartbeat_interval=1) as client:

        def say(**what: object) -> None:
            sys.stdout.write(json.dumps({**what, "state": client.state.value, "clock": time.time()}) + "\n")
            sys.stdout.flush()

        client.on_state(lambda _: say())
        async for change in client.changes():
            say(number=change.revision.number)


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1]))

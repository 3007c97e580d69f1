"""One run of kosoku, the client of the Autobahn cases, as a program: URL and cases in, verdicts out as JSON.

In a process of its own: kosoku changes the interpreter that it runs in, and one of its waits has no deadline (for
a peer that reads nothing).
"""

import asyncio
import json
import os
import sys

import kosoku


async def main(url: str, *cases: str) -> None:
    try:
        results = await kosoku.run_fuzzingclient(url, cases)
    except kosoku.FailureError as failure:  # holds those that passed as well
        results = failure.results
    verdicts = [
        {
            "case": result.case_id,
            "message": result.behavior.value,
            "close": result.behavior_close.value,
            "passed": result.passed,
            "reason": result.result if result.behavior.value == "FAILED" else result.result_close,
        }
        for result in results
    ]
    print(json.dumps(verdicts), flush=True)
    os._exit(0)  # after what kosoku has changed, one interpreter in five aborts when it takes itself down


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

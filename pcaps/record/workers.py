"""Starts the clients' workers, gives them their jobs and hears what they say."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import IO

from clients import Job
from net import Lab

HERE = Path(__file__).resolve().parent


class Workers:
    """The clients' workers and what they say."""

    def __init__(self, lab: Lab, clients: list[str]) -> None:
        self.results: dict[int, Job] = {}
        self.ready = 0
        self.inputs: dict[str, IO[str]] = {}
        for client in clients:
            process = lab.start(client, [sys.executable, str(HERE / "clients.py")], f"worker.{client}", pipes=True)
            assert process.stdin and process.stdout  # pipes=True
            self.inputs[client] = process.stdin
            threading.Thread(target=self.read, args=(process.stdout,), daemon=True).start()

    def read(self, output: IO[str]) -> None:
        for line in output:
            said = json.loads(line)
            if "ready" in said:
                self.ready += 1
            else:
                self.results[said["id"]] = said

    def wait_ready(self) -> None:
        limit = time.time() + 30
        while self.ready < len(self.inputs):
            if time.time() > limit:
                raise RuntimeError("a client's worker did not start")
            time.sleep(0.05)

    def give(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.inputs[job["worker"]].write(json.dumps(job) + "\n")
        for stream in self.inputs.values():
            stream.flush()

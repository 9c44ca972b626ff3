"""kill −9 at random moments of ingest over HTTP: every acknowledged span is there afterwards, once.

HEADWATER_KILLS sets how often (default 8; the long form is 1,000). A process that has imported everything forks each victim, so that a round costs
a kill and not a start.
"""

import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.support.otlp_samples import body, keys, speech_trace

from headwater.model.ports import Window
from headwater.service.ingestor import Ingestor, open_reader

KILLS = int(os.environ.get("HEADWATER_KILLS", "8"))
SENDERS = 3

NURSERY = """
import os, pathlib, socket, sys, time
import uvicorn
from headwater.ingest.receive.http import http_receiver
from headwater.service.ingestor import Ingestor, IngestSettings

for line in sys.stdin:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        settings = IngestSettings(flush_spans=60, flush_interval_s=0.05)  # flushes and merges under fire
        ingestor = Ingestor(pathlib.Path(sys.argv[1]), clock=time.time_ns, settings=settings)
        listener = socket.create_server(("127.0.0.1", 0))
        os.write(write, f"{listener.getsockname()[1]}\\n".encode())
        uvicorn.Server(uvicorn.Config(http_receiver(ingestor.accept), log_level="critical")).run(sockets=[listener])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        port = said.readline().strip()
    print(child, port, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


class Senders:
    """Threads that post traces until the server dies, and remember what was acknowledged."""

    def __init__(self, numbers: "itertools.count[int]") -> None:
        self._numbers = numbers
        self._lock = threading.Lock()
        self.sent: set[int] = set()
        self.acknowledged: set[int] = set()
        self.refused: list[int] = []

    def run(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            while True:
                with self._lock:
                    number = next(self._numbers)
                    self.sent.add(number)
                connection.request("POST", "/v1/traces", body=body(*speech_trace(number)), headers={"content-type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    self.acknowledged.add(number)
                else:
                    self.refused.append(answer.status)
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


def one_round(nursery: "subprocess.Popen[str]", senders: Senders, rng: random.Random) -> None:
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write("go\n")
    nursery.stdin.flush()
    child, port = (int(word) for word in nursery.stdout.readline().split())
    threads = [threading.Thread(target=senders.run, args=(port,)) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    time.sleep(rng.uniform(0.02, 0.5))
    os.kill(child, signal.SIGKILL)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert nursery.stdout.readline() == "gone\n"


def test_no_acknowledged_span_is_lost_and_none_doubled_by_kill_9(tmp_path: Path) -> None:
    rng = random.Random(20_260_101)
    senders = Senders(itertools.count(1))
    store = tmp_path / "store"
    nursery = subprocess.Popen([sys.executable, "-c", NURSERY, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(KILLS):
            one_round(nursery, senders, rng)
            check(store, senders)
    finally:
        assert nursery.stdin is not None
        nursery.stdin.close()
        nursery.wait(20)
    assert senders.refused == []
    assert len(senders.acknowledged) > 10 * KILLS
    with Ingestor(store, clock=time.time_ns) as last:
        before = {key[1] for key in keys(open_reader(store).window("speech", Window()))}
        assert {key[1] for key in keys(last.store.window("speech", Window()))} == before
    print(json.dumps({"kills": KILLS, "acknowledged": len(senders.acknowledged) * 3, "lost": 0, "doubled": 0}))


def check(store: Path, senders: Senders) -> None:
    with open_reader(store) as reader:
        table = reader.window("speech", Window())
        found = keys(table)
        assert len(found) == len(table)
        traces = {key[1] for key in found}
        assert senders.acknowledged <= traces <= senders.sent
        assert len(table) == 3 * len(traces)  # a request is there whole or not at all
        assert sum(summary.n_spans for summary in reader.pipelines()) == len(table)


@pytest.mark.parametrize("moment", ["write_spans", "write_index", "manifest", "retire"])
def test_a_kill_at_each_step_of_a_flush(tmp_path: Path, moment: str) -> None:
    """The steps a random kill seldom hits: the process ends exactly there."""
    code = f"""
import os, pathlib, sys
from headwater.service import ingestor as module
from headwater.store import manifest, segment
from headwater.ingest import spool
from tests.support.otlp_samples import body, speech_trace

one = module.Ingestor(pathlib.Path(sys.argv[1]), clock=lambda: 0, settings=module.IngestSettings(flush_interval_s=3600))
one.accept(body(*speech_trace(1)), "protobuf")
one.flush()
one.accept(body(*speech_trace(2), *speech_trace(1)), "protobuf")
moment, writes, real = {moment!r}, [], segment._write

def write(table, path):
    writes.append(path)
    if moment == "write_spans" or len(writes) == 2:
        path.with_suffix(".tmp").write_bytes(b"half")
        os._exit(9)
    real(table, path)

if moment.startswith("write"):
    segment._write = write
elif moment == "manifest":
    manifest.save = lambda *_: os._exit(9)
else:
    spool.Spool.retire = lambda *_: os._exit(9)
one.flush()
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 9
    for _ in range(2):
        with open_reader(tmp_path / "s") as reader:
            assert {key[1] for key in keys(reader.window("speech", Window()))} == {1, 2}
            assert reader.pipelines()[0].n_spans == 6
        with Ingestor(tmp_path / "s", clock=lambda: 0) as one:
            assert one.store.pipelines()[0].n_spans == 6
    assert not list((tmp_path / "s" / "segments").glob("*.tmp"))

"""One peer of horq-bench: answers requests, one JSON object a line on standard input, with one on standard output.

  {"op": "hello"}                                     -> {"version", "settings": [...]}
  {"op": "load", "case": {...}, "variant": "int8"}    -> {"id", "detail"}
  {"op": "run", "id": 0, "ns": 10000000}              -> {"ns": [...]}: times of single calls, for about so long
  {"op": "check", "id": 0}                            -> {"error"}: largest difference to numpy over the largest value
  {"op": "cold", "case": {...}, "variant": "int8"}    -> {"ns"}: from the model's bytes to the first result

An answer {"refused": "..."} says why a peer cannot do what was asked. Whatever libraries print goes to standard error.
"""

import importlib
import json
import os
import sys
import time

import numpy as np

from nets import build, image, reference

WARM_CALLS = 2
WARM_NS = 5_000_000  # a core that has just multiplied floats 512 bits at a time runs slower for some milliseconds
LEAST_CALLS = 3


class Refused(Exception):
    """What this peer cannot do, and why."""


def split(variant: str) -> tuple[str, int]:
    """`binary2` is ("binary", 2); int8 and f32 have no order."""
    kind = variant.rstrip("0123456789") if variant.startswith("binary") else variant
    return kind, int(variant[len(kind) :] or 0)


class Runner:
    """The requests of one peer."""

    def __init__(self, peer):
        self.peer = peer
        self.loaded = []

    def hello(self, _):
        return {"version": self.peer.VERSION, "settings": self.peer.SETTINGS}

    def net(self, request):
        kind, order = split(request["variant"])
        if kind not in self.peer.VARIANTS:
            raise Refused(f"has no {kind} form of this ({', '.join(self.peer.VARIANTS)} only)")
        return kind, build(request["case"], order)

    def load(self, request):
        kind, net = self.net(request)
        model = self.peer.Model(self.peer.model(net, kind), net, kind)
        model.set(image(net.input))
        model.run()
        self.loaded.append((net, kind, model))
        return {"id": len(self.loaded) - 1, "detail": getattr(model, "detail", "")}

    def cold(self, request):
        kind, net = self.net(request)
        stored = self.peer.model(net, kind)
        x = image(net.input)
        start = time.perf_counter_ns()
        model = self.peer.Model(stored, net, kind)
        model.set(x)
        model.run()
        return {"ns": time.perf_counter_ns() - start}

    def run(self, request):
        run = self.loaded[request["id"]][2].run
        clock, times = time.perf_counter_ns, []
        warm = clock() + WARM_NS
        for _ in range(WARM_CALLS):
            run()
        while clock() < warm:
            run()
        end = clock() + request["ns"]
        while len(times) < LEAST_CALLS or clock() < end:
            start = clock()
            run()
            times.append(clock() - start)
        return {"ns": times}

    def check(self, request):
        net, _, model = self.loaded[request["id"]]
        x = image(net.input)
        model.set(x)
        model.run()
        want = reference(net, x, self.peer.BORDER)
        got = np.asarray(model.output(), np.float64).reshape(want.shape)
        return {"error": float(np.abs(got - want).max() / np.abs(want).max())}


def answer(runner: Runner, line: str) -> dict:
    try:
        request = json.loads(line)
        if request["op"] not in ("hello", "load", "cold", "run", "check"):
            raise Refused(f"knows no request {request['op']}")
        return getattr(runner, request["op"])(request)
    except Refused as refused:
        return {"refused": str(refused)}
    except Exception as error:
        # Whatever a peer raises is its answer to this one case; the others go on.
        return {"refused": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def main():
    name = sys.argv[1]
    # Libraries print where they like; the protocol keeps a standard output of its own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message):
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    # OpenVINO's telemetry starts processes that outlive this one, and reports; without its package it does neither.
    sys.modules["openvino_telemetry"] = None
    try:
        runner = Runner(importlib.import_module(f"peer_{name}"))
    except Exception as error:
        say({"refused": f"cannot be imported: {type(error).__name__}: {error}"})
        return
    for line in sys.stdin:
        say(answer(runner, line))


if __name__ == "__main__":
    main()

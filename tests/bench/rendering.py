"""The lines of the table that the benchmarks print."""

import sys


def heading():
    line("stage", "ours", "physical limit", "peer", "ratio", "CPU", "peak memory", "the peer's")
    line(*["---"] * 8)


def line(stage, ours, limit="", peer="", ratio="", cpu="", peak="", peer_peak=""):
    sys.stdout.write(
        f"| {stage} | {ours} | {limit} | {peer} | {ratio} | {cpu} | {peak} | {peer_peak} |\n"
    )
    sys.stdout.flush()


def beside(stage, ours, limit, name, peer):
    """A line that compares; `ratio` and `CPU` are ours to the peer's."""
    line(
        stage,
        f"{ours.seconds:.2f} s",
        f"{limit.seconds:.2f} s",
        f"{name} {peer.seconds:.2f} s",
        f"{ours.seconds / peer.seconds:.2f}",
        f"{ours.cpu_seconds / peer.cpu_seconds:.2f}",
        memory(ours),
        memory(peer),
    )


def memory(taken):
    """Peak of the process, and how much of it the stage itself added."""
    added = f" (+{taken.memory_mb - taken.idle_mb:.0f})" if taken.idle_mb else ""
    return f"{taken.memory_mb:.0f} MB{added}"

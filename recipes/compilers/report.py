"""What `--dry-run --target` prints, and the same as figures."""

from rich.console import Console

from recipes.common.results.tables import print_table
from recipes.compilers.compiled import Compiled


def _scaled(value: float, unit: str) -> str:
    for power, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:,.3f} {prefix}{unit}"
    return f"{value:,.0f} {unit}"


def figures(
    compiled: Compiled, units: int, unit: str, closed_memory: int, closed_flops: float | None
) -> dict:
    """The record of one compilation, in bytes, seconds and operations of one device.

    Args:
        compiled: From `compile_for`.
        units: Tokens or images of a micro-batch, over all devices.
        unit: `"tokens"` or `"images"`.
        closed_memory: What the closed form says of one device's memory.
        closed_flops: What it says of one device's operations in a step, if there is one.
    """
    devices = compiled.placement.plan
    record = {
        "target": str(compiled.target),
        "distribute": devices.kind,
        "replicas": devices.replicas,
        "model_shards": devices.model_shards,
        "compiles": compiled.error is None,
        "error": compiled.error,
        "device_memory": compiled.target.chip.memory,
        "closed_form_memory": closed_memory,
        "closed_form_flops": closed_flops,
        "seconds_to_compile": round(compiled.seconds, 1),
    }
    if compiled.error:
        return record
    work, bounds = compiled.work, compiled.bounds
    return record | {
        "peak_memory": compiled.peak,
        "state_memory": compiled.state,
        "flops": work.flops,
        "bytes": work.bytes,
        "xla_flops": compiled.flops,
        "xla_bytes": compiled.bytes,
        "collectives": [vars(message) for message in work.messages],
        "estimated_cycles": work.cycles or None,
        "bounds_seconds": bounds,
        "limit": compiled.limit,
        f"most_{unit}_per_second": units / max(bounds.values()),
        "attention": compiled.attention,
        "large_copies": work.copies,
        "large_copies_bytes": work.copied,
        "fusions": work.fusions,
    }


def print_report(record: dict, unit: str, title: str, console: Console) -> None:
    """Prints `figures` as a table."""
    size = record["device_memory"]
    if not record["compiles"]:
        console.print(
            f"{title}: it does not compile for {record['target']}: {record['error']}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        return
    closed = record["closed_form_flops"]
    rows = [
        ("memory, peak", _scaled(record["peak_memory"], "B")),
        (
            "    share of the device's",
            f"{record['peak_memory'] / size:.1%} of {_scaled(size, 'B')}",
        ),
        ("    closed form", _scaled(record["closed_form_memory"], "B")),
        ("    state alone", _scaled(record["state_memory"], "B")),
        ("FLOPs", _scaled(record["flops"], "FLOP")),
        ("    closed form", _scaled(closed, "FLOP") if closed else "-"),
        ("bytes read and written", _scaled(record["bytes"], "B")),
        (
            "copies and conversions over 1 MB",
            f"{record['large_copies']:,.0f}, {_scaled(record['large_copies_bytes'], 'B')}",
        ),
        ("attention", record["attention"]),
    ]
    for message in record["collectives"] or [None]:
        if message is None:
            rows.append(("collectives", "none"))
        else:
            rows.append(
                (
                    f"{message['kind']} over {message['axis']}",
                    f"{message['count']:.3g} of {_scaled(message['payload'], 'B')},"
                    f" {_scaled(message['sent'], 'B')} sent",
                )
            )
    cycles = record["estimated_cycles"]
    rows.append(("estimated cycles", f"{cycles:,.0f}" if cycles else "not given"))
    for name, seconds in record["bounds_seconds"].items():
        rows.append((f"time at least, by {name}", f"{seconds * 1e3:,.3f} ms"))
    rows.append(
        (
            f"{unit}/s at most, all devices",
            f"{record[f'most_{unit}_per_second']:,.0f}; of the three, {record['limit']}"
            " takes longest",
        )
    )
    print_table(
        [dict(zip(("of one micro-batch on one device", "by the compiler"), r, strict=True))
         for r in rows],
        console,
        title=title,
    )  # fmt: skip
    console.print(
        f"Compiled for {record['target']} in {record['seconds_to_compile']:.0f} s; nothing was run."
        " The bounds are those of a perfect overlap at the maker's peak figures.",
        highlight=False,
        soft_wrap=True,
    )

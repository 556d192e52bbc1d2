"""The long form: `python -m tests.attack [TARGET ...] [--count 2000] [--seed 0] [--out FILE]`."""

import argparse
import sys
from pathlib import Path

from tests.attack.harness import attack
from tests.attack.record import write_record
from tests.attack.targets import all_targets


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the counts")
    arguments = parser.parse_args()
    targets = all_targets()
    unknown = set(arguments.targets) - set(targets)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(targets)}")
    failed = False
    for name, target in targets.items():
        if arguments.targets and name not in arguments.targets:
            continue
        counts = attack(target, arguments.count, arguments.seed)
        print(f"{name}: {counts}", flush=True)
        for line in counts.wrong[:20]:
            print("   ", line.replace("\n", "\n        "), flush=True)
        if arguments.out:
            write_record(arguments.out, name, {"seed": arguments.seed, **counts.record()})
        failed |= bool(counts.wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()

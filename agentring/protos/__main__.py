"""`python -m agentring.protos DIRECTORY`: writes the protos there."""

import argparse
from pathlib import Path

from agentring.protos import copy


def main() -> None:
    """Prints each file that it writes."""
    parser = argparse.ArgumentParser(prog="python -m agentring.protos", description="Writes agentring's protos.")
    parser.add_argument("directory", type=Path, help="where to: agentring/v1 and google/rpc are made there")
    for written in copy(parser.parse_args().directory):
        print(written)


if __name__ == "__main__":
    main()

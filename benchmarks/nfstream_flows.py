"""The peer nfstream as it is measured: all flows with their statistics, no application detection.

The number of workers is nfstream's own default (all cores).
"""

from __future__ import annotations

import sys

from nfstream import NFStreamer


def main() -> None:
    """Iterate over all flows of a capture and count them."""
    flows = packets = 0
    for flow in NFStreamer(source=sys.argv[1], n_dissections=0, statistical_analysis=True):
        flows += 1
        packets += flow.bidirectional_packets
    if not packets:
        sys.exit("nfstream read no packets")
    print(flows, packets)


if __name__ == "__main__":
    main()

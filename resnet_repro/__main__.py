"""`python -m resnet_repro` is `resnet-repro`."""

import sys

from resnet_repro.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m examples.pipelines.speech``: the demo."""

import sys

from examples.pipelines.speech.demo import main

sys.exit(main())

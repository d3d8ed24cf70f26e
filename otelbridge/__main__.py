"""``python -m otelbridge`` is ``otelbridge``."""

from otelbridge.cli import main

raise SystemExit(main())

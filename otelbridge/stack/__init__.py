"""Real components for demos and tests: found or made, checked, started, stopped.

```python
with Stack(StackOptions(run_dir=Path(".run/stack"), scrape=(ScrapeTarget("shop", "127.0.0.1:8000"),))) as stack:
    print(stack.otlp_http_endpoint, stack.prometheus_url)
```
"""

from otelbridge.stack.errors import (
    BuildFailedError,
    ComponentFailedError,
    DownloadRefusedError,
    StackError,
    ToolMissingError,
)
from otelbridge.stack.locate import locate
from otelbridge.stack.options import ScrapeTarget, StackOptions
from otelbridge.stack.ports import Ports
from otelbridge.stack.processes import Component
from otelbridge.stack.stack import Stack
from otelbridge.stack.tools import TOOLS, Tool

__all__ = [
    "TOOLS",
    "BuildFailedError",
    "Component",
    "ComponentFailedError",
    "DownloadRefusedError",
    "Ports",
    "ScrapeTarget",
    "Stack",
    "StackError",
    "StackOptions",
    "Tool",
    "ToolMissingError",
    "locate",
]

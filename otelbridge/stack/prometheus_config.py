"""The configuration and flags of Prometheus, as its version knows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from otelbridge.stack.ports import LOOPBACK
from otelbridge.stack.tools import Version, parse_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otelbridge.stack.options import ScrapeTarget

# The OTLP receiver got its flag, and its section of the configuration, in 3.0.
_OTLP: Version = (3, 0)
# Native histograms moved from a feature flag to the configuration; from 3.9 on the flag does nothing but warn.
_NATIVE_HISTOGRAMS_SETTING: Version = (3, 9)
_LAST_OF_PLANE_ZERO = 0xFFFF


def render(
    version: str,
    targets: Sequence[ScrapeTarget],
    *,
    interval: float,
    rule_files: Sequence[Path],
    honoured: frozenset[str],
) -> str:
    """Write ``prometheus.yml``.

    Args:
        version: Version of the Prometheus that will read it.
        targets: What it scrapes.
        interval: Seconds between scrapes and between evaluations of rules.
        rule_files: Its rule files.
        honoured: Jobs whose targets say ``job`` and ``instance`` themselves, as the Collector does for the
            services behind it.

    Returns:
        The text of the file.
    """
    known = parse_version(version)
    every = f"{max(1, round(interval * 1000))}ms"
    lines = ["global:", f"  scrape_interval: {every}", f"  scrape_timeout: {every}", f"  evaluation_interval: {every}"]
    if known >= _NATIVE_HISTOGRAMS_SETTING:
        lines.append("  scrape_native_histograms: true")
    if known >= _OTLP:
        lines += ["otlp:", "  translation_strategy: UnderscoreEscapingWithSuffixes"]
    # Pushed samples carry the sender's time; a retried push must not be refused for being late.
    lines += ["storage:", "  tsdb:", "    out_of_order_time_window: 30m"]
    if rule_files:
        lines += ["rule_files:", *(f"  - {_quoted(str(path.resolve()))}" for path in rule_files)]
    lines.append("scrape_configs:")
    for target in targets:
        lines += _scrape_config(target, honour=target.job in honoured)
    return "\n".join(lines) + "\n"


def command(program: Path, version: str, *, config: Path, data: Path, port: int) -> list[str]:
    """Build the command line of Prometheus.

    Args:
        program: The executable.
        version: Its version.
        config: Its configuration file.
        data: Directory of its database.
        port: Port on the loopback interface.

    Returns:
        Program and arguments.
    """
    known = parse_version(version)
    # Targets are first looked at after this time; its default of 5 s is all that a demo or a test would wait for.
    modern = ["--web.enable-otlp-receiver", "--scrape.discovery-reload-interval=500ms"] if known >= _OTLP else []
    native = [] if known >= _NATIVE_HISTOGRAMS_SETTING else ["native-histograms"]
    return [
        str(program),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address={LOOPBACK}:{port}",
        # A remote write target that is gone must not hold up the end for a minute.
        "--storage.remote.flush-deadline=1s",
        f"--enable-feature={','.join(['exemplar-storage', *native])}",
        *modern,
    ]


def _scrape_config(target: ScrapeTarget, *, honour: bool) -> list[str]:
    return [
        f"  - job_name: {_quoted(target.job)}",
        f"    metrics_path: {_quoted(target.path)}",
        *(["    honor_labels: true"] if honour else []),
        "    static_configs:",
        f"      - targets: [{_quoted(target.address)}]",
    ]


def _quoted(text: str) -> str:
    # A JSON string is a YAML string, but for JSON's pairs of surrogates: YAML writes those characters as one.
    inner = (f"\\U{ord(char):08x}" if ord(char) > _LAST_OF_PLANE_ZERO else json.dumps(char)[1:-1] for char in text)
    return f'"{"".join(inner)}"'

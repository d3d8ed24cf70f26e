"""The order in which a tool is found, with real executables and a real HTTP server."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import socket
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from otelbridge.errors import ConfigError
from otelbridge.stack import DownloadRefusedError, ToolMissingError, locate
from otelbridge.stack.cache import build_entry, release_entry
from otelbridge.stack.errors import BuildFailedError
from otelbridge.stack.tools import TOOLS, current_platform

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMETHEUS = TOOLS["prometheus"].package
SYSTEM, MACHINE = current_platform()
ARCHIVE = f"prometheus-3.15.0.{SYSTEM}-{MACHINE}.tar.gz"
INSIDE = f"prometheus-3.15.0.{SYSTEM}-{MACHINE}"


def program(version: str, *, name: str = "prometheus") -> str:
    return f"#!/bin/sh\necho '{name}, version {version} (branch: HEAD)'\n"


def collector(version: str, *components: str) -> str:
    listing = "\n".join(f"    - name: {component}" for component in components)
    lines = (
        "#!/bin/sh",
        "if [ \"$1\" = components ]; then /bin/cat <<'E'",
        listing,
        "E",
        f"else echo 'otelcol version {version}'; fi",
    )
    return "\n".join(lines) + "\n"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "OTELBRIDGE_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def offline(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "OTELBRIDGE_NO_DOWNLOAD": "1"}


def test_the_named_path_wins_over_everything(tmp_path: Path, offline: dict[str, str]) -> None:
    named = put(tmp_path / "mine" / "prom", program("3.1.0"))
    put(tmp_path / "bin" / "prometheus", program("3.2.0"))
    said: list[str] = []
    tool = locate("prometheus", environ={**offline, "OTELBRIDGE_PROMETHEUS_SERVER": str(named)}, say=said.append)
    assert (tool.path, tool.version) == (named, "3.1.0")
    assert said == [f"prometheus 3.1.0: {named} (from OTELBRIDGE_PROMETHEUS_SERVER)"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [(None, "no executable file"), (program("2.1.0"), "older than 2.40"), ("#!/bin/sh\nexit 1\n", "does not tell")],
)
def test_a_wrong_named_path_is_an_error_and_not_passed_over(
    tmp_path: Path, offline: dict[str, str], text: str | None, reason: str
) -> None:
    put(tmp_path / "bin" / "prometheus", program("3.2.0"))
    named = put(tmp_path / "mine" / "prom", text) if text else tmp_path / "absent"
    with pytest.raises(ConfigError, match=reason):
        locate("prometheus", environ={**offline, "OTELBRIDGE_PROMETHEUS_SERVER": str(named)})


def test_path_comes_before_the_cache(tmp_path: Path, offline: dict[str, str]) -> None:
    put(build_entry(tmp_path / "cache", PROMETHEUS) / "prometheus", program("3.15.0"))
    installed = put(tmp_path / "bin" / "prometheus", program("3.2.0"))
    assert locate("prometheus", environ=offline).path == installed


def test_what_is_too_old_on_path_is_passed_over(tmp_path: Path, offline: dict[str, str]) -> None:
    put(tmp_path / "bin" / "prometheus", program("2.42.0+ds"))
    cached = put(build_entry(tmp_path / "cache", PROMETHEUS) / "prometheus", program("3.15.0"))
    assert locate("prometheus", environ=offline).version == "2.42.0"
    tool = locate("prometheus", minimum="3.0", environ=offline)
    assert (tool.path, tool.origin) == (cached, "from the cache")


def test_a_collector_without_the_needed_components_is_passed_over(tmp_path: Path, offline: dict[str, str]) -> None:
    needed = sorted(TOOLS["otelcol"].components)
    put(tmp_path / "bin" / "otelcol-contrib", collector("0.165.0", *(set(needed) - {"file_storage"})))
    complete = put(tmp_path / "bin" / "otelcol", collector("0.165.0", *needed))
    tool = locate("otelcol", environ=offline)
    assert (tool.path, tool.version) == (complete, "0.165.0")


def test_nothing_found_names_every_way_and_the_ways_out(tmp_path: Path, offline: dict[str, str]) -> None:
    put(tmp_path / "bin" / "otelcol-contrib", collector("0.100.0"))
    with pytest.raises(ToolMissingError) as caught:
        locate("otelcol", environ=offline)
    for reason in (
        "OTELBRIDGE_OTELCOL is not set",
        "is version 0.100.0, older than 0.155",
        "otelcol is not on PATH",
        "nothing that fits in the cache",
        "downloading is not allowed",
        "no Go 1.26 or later",
    ):
        assert reason in caught.value.problem
    assert caught.value.cure.startswith("Three ways out: put a release of otelcol-contrib")


def test_an_unknown_tool_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'promtool'"):
        locate("promtol")


class Site:
    """A release host: a directory, served for real."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[str] = []
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                site.requests.append(self.path)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def publish(self, content: bytes, checksum: str | None = None) -> None:
        (self.root / ARCHIVE).write_bytes(content)
        digest = checksum or hashlib.sha256(content).hexdigest()
        (self.root / "sha256sums.txt").write_text(f"{'0' * 64}  another.tar.gz\n{digest}  {ARCHIVE}\n")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "site"
    root.mkdir()
    site = Site(root)
    yield site
    site.close()


@pytest.fixture
def unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed lock file knows the true archives, and these are not them."""
    from otelbridge.stack import download

    real = download.data_file
    monkeypatch.setattr(download, "data_file", lambda name: b"{}" if name == "checksums.json" else real(name))


def archive(members: dict[str, str | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content.encode())
                tar.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()


def release(**extra: str) -> dict[str, str | tarfile.TarInfo]:
    return {
        f"{INSIDE}/prometheus": program("3.15.0"),
        f"{INSIDE}/promtool": program("3.15.0", name="promtool"),
        **extra,
    }


def nothing_was_left(cache: Path) -> bool:
    return [path.name for path in (cache / "tools").glob("*") if not path.name.endswith(".lock")] == []


@pytest.mark.usefixtures("unlocked")
def test_a_good_release_is_fetched_once_and_brings_both_tools(
    tmp_path: Path, environ: dict[str, str], site: Site
) -> None:
    site.publish(archive(release()))
    tool = locate("prometheus", environ=environ, base_url=site.url)
    assert (tool.version, tool.origin) == ("3.15.0", "official release, downloaded now")
    assert sorted(path.name for path in tool.path.parent.iterdir()) == ["prometheus", "promtool"]
    assert locate("promtool", environ=environ, base_url=site.url).origin == "from the cache"
    assert site.requests == ["/sha256sums.txt", f"/{ARCHIVE}"]


@pytest.mark.usefixtures("unlocked")
def test_a_wrong_published_checksum_is_refused_loudly(tmp_path: Path, environ: dict[str, str], site: Site) -> None:
    site.publish(archive(release()), checksum="a" * 64)
    with pytest.raises(DownloadRefusedError, match="published beside it is aaaa"):
        locate("prometheus", environ=environ, base_url=site.url)
    assert nothing_was_left(tmp_path / "cache")


def test_an_archive_that_the_lock_file_does_not_know_is_refused_although_the_host_vouches_for_it(
    tmp_path: Path, environ: dict[str, str], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from otelbridge.stack import download

    lock = f'{{"{ARCHIVE}": "{"b" * 64}"}}'.encode()
    monkeypatch.setattr(download, "data_file", lambda name: lock)
    site.publish(archive(release()))
    with pytest.raises(DownloadRefusedError, match="recorded in otelbridge is bbbb"):
        locate("prometheus", environ=environ, base_url=site.url)
    assert nothing_was_left(tmp_path / "cache")


@pytest.mark.usefixtures("unlocked")
def test_a_path_that_climbs_out_of_the_archive_goes_nowhere(
    tmp_path: Path, environ: dict[str, str], site: Site
) -> None:
    site.publish(archive(release(**{"../../../evil": "evil", "/tmp/evil": "evil", f"{INSIDE}/../x": "evil"})))
    entry = locate("prometheus", environ=environ, base_url=site.url).path.parent
    assert sorted(path.name for path in entry.iterdir()) == ["prometheus", "promtool"]
    assert not list(tmp_path.rglob("evil"))


def link_to_shell() -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"{INSIDE}/prometheus")
    info.type, info.linkname = tarfile.SYMTYPE, "/bin/sh"
    return info


@pytest.mark.usefixtures("unlocked")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (archive({f"{INSIDE}/prometheus": link_to_shell()}), "not an ordinary file"),
        (archive({"README": "hello"}), "has no file"),
        (b"this is no archive", "cannot be read as an archive"),
    ],
    ids=["a link", "no program", "no archive"],
)
def test_a_malformed_archive_is_refused(
    tmp_path: Path, environ: dict[str, str], site: Site, content: bytes, reason: str
) -> None:
    site.publish(content)
    with pytest.raises(DownloadRefusedError, match=reason):
        locate("prometheus", environ=environ, base_url=site.url)
    assert nothing_was_left(tmp_path / "cache")


@pytest.mark.parametrize("published", ["nothing", "only the checksum", "no line for it"])
def test_a_release_that_is_not_there_leads_on_to_the_next_way(
    environ: dict[str, str], site: Site, published: str
) -> None:
    if published == "only the checksum":
        site.publish(b"gone")
        (site.root / ARCHIVE).unlink()
    elif published == "no line for it":
        (site.root / "sha256sums.txt").write_text(f"{'0' * 64}  another.tar.gz\n")
    with pytest.raises(ToolMissingError, match="no download: ") as caught:
        locate("prometheus", environ=environ, base_url=site.url)
    assert "no Go" in caught.value.problem


def test_a_host_that_refuses_connections_leads_on_to_the_next_way(environ: dict[str, str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(ToolMissingError, match=r"no download: .*refused"):
        locate("prometheus", environ=environ, base_url=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("how", ["variable", "argument"])
def test_a_forbidden_download_asks_nobody(environ: dict[str, str], site: Site, how: str) -> None:
    forbidden = {**environ, "OTELBRIDGE_NO_DOWNLOAD": "1"} if how == "variable" else environ
    with pytest.raises(ToolMissingError, match="downloading is not allowed"):
        locate("prometheus", environ=forbidden, base_url=site.url, may_download=how == "variable")
    assert site.requests == []


def test_what_is_pinned_is_not_fetched_when_it_would_be_too_old(environ: dict[str, str], site: Site) -> None:
    with pytest.raises(ToolMissingError, match=r"pinned release 3\.15\.0 is older than 9\.0"):
        locate("prometheus", minimum="9.0", environ=environ, base_url=site.url)
    assert site.requests == []


FAKE_GO = """#!/bin/sh
[ "$1" = env ] && { echo go%s; exit 0; }
for argument in "$@"; do case $argument in -o=*) target=${argument#-o=};; esac; done
%s
printf '#!/bin/sh\\necho prometheus, version 3.15.0\\n' > "$target" && /bin/chmod +x "$target"
"""


def test_go_builds_what_is_found_nowhere_else_and_once(tmp_path: Path, offline: dict[str, str]) -> None:
    put(tmp_path / "bin" / "go", FAKE_GO % ("1.26.8", 'echo built >> "$HOME/builds"'))
    said: list[str] = []
    tool = locate("prometheus", environ=offline, say=said.append)
    assert (tool.version, tool.origin) == ("3.15.0", "built from source now")
    assert sorted(path.name for path in tool.path.parent.iterdir()) == ["prometheus", "promtool"]
    assert locate("promtool", environ=offline).origin == "from the cache"
    assert (tmp_path / "builds").read_text().split() == ["built", "built"], "one build each for the two tools"
    assert said[0].startswith("building prometheus 3.15.0 from source")


def test_a_go_that_is_too_old_is_not_used(tmp_path: Path, offline: dict[str, str]) -> None:
    put(tmp_path / "bin" / "go", FAKE_GO % ("1.25.9", ""))
    with pytest.raises(ToolMissingError, match=r"no Go 1\.26 or later"):
        locate("prometheus", environ=offline)


def test_a_failed_build_shows_the_end_of_its_log_and_leaves_no_entry(tmp_path: Path, offline: dict[str, str]) -> None:
    put(tmp_path / "bin" / "go", FAKE_GO % ("1.26.0", "echo the linker is unhappy >&2; exit 1"))
    with pytest.raises(BuildFailedError, match="the linker is unhappy") as caught:
        locate("prometheus", environ=offline)
    assert "build-prometheus.log" in caught.value.cure
    assert nothing_was_left(tmp_path / "cache")


def test_two_that_build_at_once_build_once(tmp_path: Path, offline: dict[str, str]) -> None:
    put(tmp_path / "bin" / "go", FAKE_GO % ("1.26.8", 'echo built >> "$HOME/builds"; /bin/sleep 0.2'))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(str(locate("prometheus", environ=offline).path))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(set(found)) == 1
    assert (tmp_path / "builds").read_text().split() == ["built", "built"]


def test_a_release_and_a_build_have_places_of_their_own(tmp_path: Path) -> None:
    assert release_entry(tmp_path, PROMETHEUS) != build_entry(tmp_path, PROMETHEUS)

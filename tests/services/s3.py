"""A real S3 server for the tests: Ceph's radosgw over one monitor and one in-memory store, all on loopback.

    apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-mgr-

radosgw checks what a mock does not: signatures, expiry, signed headers, ranges, lifecycle and CORS rules.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

from audio_text.local.process import LOOPBACK, Command, free_port
from audio_text.settings import S3Settings
from factories import make_settings
from services.folders import open_folder
from services.programs import require
from services.server import Server

PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")
ACCESS_KEY, SECRET_KEY = "testkey", "testsecret0123456789"
SETUP_SECONDS = 60.0

CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = v1:{host}:{mon_port}
mon_initial_members = a
public_addr = {host}
cluster_addr = {host}
ms_bind_msgr2 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
mon_cluster_log_file = {folder}/cluster.log
crash_dir = {folder}/crash
mon_data = {folder}/mon
osd_data = {folder}/osd
rgw_data = {folder}/rgw
{device}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_class_load_list = *
osd_class_default_list = *
osd_class_update_on_start = false
osd_crush_update_on_start = false
mon_allow_pool_size_one = true
mon_osd_full_ratio = .99
mon_data_avail_warn = 1
mon_data_avail_crit = 1
mon_tick_interval = 1
mon_osd_min_up_ratio = 0
osd_tick_interval = 1
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
rgw_frontends = beast endpoint={host}:{rgw_port}
rgw_enable_apis = s3
rgw_run_sync_thread = false
rgw_num_rados_handles = 1
rgw_thread_pool_size = 32
rgw_enable_usage_log = false
# without a cache a gateway does not wait half a minute for the one that was killed before it
rgw_cache_enabled = false
# a lifecycle "day" lasts one second, and its work is done when a test asks for it
rgw_lc_debug_interval = 1
rgw_lc_max_objs = 1
rgw_enable_lc_threads = false
"""


MEMORY = """\
osd_objectstore = memstore
memstore_device_bytes = 4294967296"""

DISK = """\
osd_objectstore = bluestore
bluestore_block_size = {size_bytes}
osd_memory_target = 1073741824"""


class Daemon:
    """One of Ceph's programs; `is_ready` asks whether it answers."""

    def __init__(self, cluster: "Cluster", program: str, *arguments: str) -> None:
        self._cluster = cluster
        self._arguments = (program, "-f", *arguments)

    def command(self) -> Command:
        return self._cluster.command(*self._arguments)

    def is_ready(self) -> bool:
        return True


class Monitor(Daemon):
    def is_ready(self) -> bool:
        return self._cluster.run("ceph", "--connect-timeout", "2", "fsid").returncode == 0


class Gateway(Daemon):
    def is_ready(self) -> bool:
        try:
            with urlopen(self._cluster.endpoint, timeout=2) as answer:
                return answer.status == 200
        except (URLError, OSError):
            return False


class Cluster:
    """The configuration of a throw-away cluster in `folder`: in memory, or with so many bytes of disk."""

    def __init__(self, folder: Path, *, disk_bytes: int = 0) -> None:
        self.folder = folder
        self.fsid = str(uuid4())
        self.mon_port, self.rgw_port = free_port(), free_port()
        self.endpoint = f"http://{LOOPBACK}:{self.rgw_port}"
        text = CONFIGURATION.format(
            fsid=self.fsid,
            host=LOOPBACK,
            mon_port=self.mon_port,
            rgw_port=self.rgw_port,
            folder=folder,
            device=DISK.format(size_bytes=disk_bytes) if disk_bytes else MEMORY,
        )
        for name in ("mon", "osd", "rgw", "crash"):
            (folder / name).mkdir()
        (folder / "ceph.conf").write_text(text)

    def command(self, *arguments: str) -> Command:
        program, *rest = arguments
        return Command(arguments=(shutil.which(program) or program, "-c", str(self.folder / "ceph.conf"), *rest))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.command(*arguments).run(timeout_seconds=SETUP_SECONDS)

    def must(self, *arguments: str) -> None:
        """Run it until it succeeds: a fresh cluster needs a moment to agree with itself."""
        deadline = time.monotonic() + SETUP_SECONDS
        while (result := self.run(*arguments)).returncode != 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{arguments}: {result.stdout}{result.stderr}")
            time.sleep(0.1)

    def monitor(self) -> Monitor:
        monmap, address = str(self.folder / "monmap"), f"[v1:{LOOPBACK}:{self.mon_port}]"
        self.must("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", address, monmap)
        self.must("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
        return Monitor(self, "ceph-mon", "-i", "a")

    def store(self) -> Daemon:
        """After the monitor runs."""
        uuid = str(uuid4())
        self.must("ceph", "osd", "new", uuid)
        self.must("ceph", "osd", "crush", "add", "osd.0", "1.0", "host=h", "root=default")
        self.must("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", uuid)
        return Daemon(self, "ceph-osd", "-i", "0")

    def add_user(self, name: str, access_key: str, secret_key: str) -> None:
        keys = ("--access-key", access_key, "--secret-key", secret_key)
        self.must("radosgw-admin", "user", "create", f"--uid={name}", f"--display-name={name}", *keys)

    def gateway(self) -> Gateway:
        """After the store runs."""
        self.add_user("owner", ACCESS_KEY, SECRET_KEY)
        return Gateway(self, "radosgw", "-n", "client.rgw")


class S3Server:
    """Where the server is; kill and start are the gateway's, and the objects outlive them."""

    def __init__(self, settings: S3Settings, cluster: Cluster, gateway: Server) -> None:
        self.settings = settings
        self._cluster = cluster
        self.access_key = ACCESS_KEY
        self.secret_key = SECRET_KEY
        self._gateway = gateway

    def add_user(self, name: str) -> tuple[str, str]:
        """Let somebody else in, who owns nothing; returns access and secret key."""
        keys = f"{name}key", f"{name}secret0123456789"
        self._cluster.add_user(name, *keys)
        return keys

    def do_days_work(self) -> None:
        """Let the server do what it does once a day: delete what a lifecycle rule calls old, in the first bucket."""
        self._cluster.must("radosgw-admin", "lc", "process")

    def kill(self) -> None:
        self._gateway.kill()

    def start(self) -> None:
        self._gateway.start()


@contextmanager
def s3_server(*, disk_bytes: int = 0) -> Iterator[S3Server]:
    """Start one; without the programs the tests are skipped here and fail in CI."""
    require(*PROGRAMS)
    with open_folder() as folder, ExitStack() as running:
        cluster = Cluster(folder, disk_bytes=disk_bytes)
        for make in (cluster.monitor, cluster.store, cluster.gateway):
            server = Server(make(), folder / f"{make.__name__}.out")
            running.callback(server.kill)
            server.start()
        settings = make_settings({"s3.endpoint": cluster.endpoint, "s3.bucket": "audio-text-test"}).s3
        yield S3Server(settings, cluster, server)

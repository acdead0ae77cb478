"""`weir serve --http-only` behind HAProxy: who can reach it, what is answered, and that nothing of it stays."""

from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from services.free_ports import free_ports
from tests.end_to_end.processes import ServeProcess, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

HTTP_ONLY = ("-m", "pipelines", "serve", "--http-only", "--config")


def test_it_answers_at_its_host_alone_and_leaves_nothing_behind(tmp_path: Path) -> None:
    port, stats_port, metrics_port = free_ports(3)
    config = {
        "http": {
            "port": port,
            "ingress": "haproxy",
            "haproxy": {"stats_port": stats_port, "metrics_port": metrics_port},
        },
        "images": {"read": "off"},
        "serve": {"detector": {"num_cpus": 0.5}},
    }
    (tmp_path / "weir.yaml").write_text(yaml.safe_dump(config))
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def is_ready() -> bool:
        try:
            return client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    with client, ServeProcess(tmp_path / "weir.yaml", tmp_path / "serve.log", program=HTTP_ONLY) as process:
        wait_until(is_ready, process)
        haproxies = [child for child in process.children() if child.name() == "haproxy"]
        assert haproxies
        listening = {address for address in addresses(haproxies) if address[1] == port}
        assert listening == {("127.0.0.1", port)}
        # What stands behind HAProxy does not ask it who calls: it must not be reached past it.
        replicas = [child for child in process.children() if child.name().startswith("ray::ServeRepl")]
        assert {host for host, number in addresses(replicas) if 30_000 <= number <= 31_000} == {"127.0.0.1"}

        assert client.get("/healthz").json() == {"status": "ok"}
        answer = client.post("/v1/moderations", json={"input": ["Take the bus.", "You are a stupid worthless idiot."]})
        assert [result["flagged"] for result in answer.json()["results"]] == [False, True]
        assert len(answer.headers.get_list("x-request-id")) == 1
        assert httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{stats_port}/stats").status_code == 200

        assert process.terminate() == 0
        psutil.wait_procs(haproxies, timeout=20)
        assert [haproxy for haproxy in haproxies if haproxy.is_running()] == []
        assert "Traceback" not in process.log()


def addresses(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """Return where some processes listen."""
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in processes
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }

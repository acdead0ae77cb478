"""`weir serve --http-only` with a certificate: HTTPS is answered, and nothing else."""

import ssl
from pathlib import Path

import httpx
import pytest
import yaml

from services.free_ports import free_ports
from tests.certificates import write_certificate
from tests.end_to_end.processes import ServeProcess, wait_until
from tests.end_to_end.test_http import HTTP_ONLY

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def test_https_is_spoken_with_a_locked_key_of_the_configuration_and_plain_http_is_not(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    certificate_file, _ = write_certificate(tmp_path, password="locked")
    config = {
        "http": {
            "port": port,
            "tls": {"certificate_file": "certificate.pem", "key_file": "key.pem", "key_password": "locked"},
        },
        "images": {"read": "off"},
        "serve": {"detector": {"num_cpus": 0.5}},
    }
    (tmp_path / "weir.yaml").write_text(yaml.safe_dump(config))
    trusting = ssl.create_default_context(cafile=certificate_file)
    address = f"https://127.0.0.1:{port}"

    def is_there() -> bool:
        # Its models take longer, and are not what is tested here.
        try:
            return httpx.get(f"{address}/healthz", verify=trusting).status_code == 200
        except httpx.TransportError:
            return False

    with ServeProcess(tmp_path / "weir.yaml", tmp_path / "serve.log", program=HTTP_ONLY) as process:
        wait_until(is_there, process)
        with httpx.Client(base_url=address, verify=trusting, timeout=60) as client:
            answer = client.post("/v1/moderations", content=b"{", headers={"content-type": "application/json"})
        assert answer.json()["error"]["code"] in {"invalid_json", "not_ready"}
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{address}/healthz")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/healthz")
        assert "locked" not in process.log()

"""The tracking uri in a configuration holds no secret: options are visible in the process list, metadata and logs."""

import json
import socket

import pytest
from typer.testing import CliRunner

from kinetext.cli import app
from kinetext.config.report import TrackingOptions
from kinetext.tracking.dashboard import check_port
from kinetext.tracking.store import hide_password

WITH_SECRET = [
    "postgresql://me:hunter2@host/runs",
    "postgresql://host/runs?user=me&password=hunter2",
    "http://me:hunter2@host:5000",
    "http://hunter2@host:5000",
    "https://host:5000/?token=hunter2",
]


@pytest.mark.parametrize("uri", WITH_SECRET)
def test_uri_with_a_password_or_a_query_is_refused_without_printing_it(uri, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = CliRunner().invoke(app, ["sync-tracking", str(tmp_path), "--tracking", json.dumps({"uri": uri})])
    assert done.exit_code != 0
    message = f"{done.output} {done.exception}"
    assert "MLFLOW_TRACKING_URI" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("uri", [None, "http://host:5000", "postgresql://me@host:5432/runs", "sqlite:///here.db"])
def test_uri_without_a_secret_is_accepted(uri):
    assert TrackingOptions(uri=uri).uri == uri


@pytest.mark.parametrize("uri", [*WITH_SECRET, "postgresql://me:p@hunter2@host/runs"])
def test_messages_hold_no_secret_of_a_uri_from_the_environment(uri):
    message = hide_password(f"{uri}: MLflow failed (connection to {uri} refused)")
    assert "hunter2" not in message
    assert "host" in message
    assert message.endswith(" refused)")


def test_a_dashboard_refuses_a_port_at_which_another_study_may_be_shown():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port {port}: cannot be used \(Address already in use\).* --port"):
            check_port(port)
    check_port(port)

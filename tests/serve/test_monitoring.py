"""The alert rules and the dashboard name metrics that exist, in expressions that are right."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from warmstart.serve.engine import metrics

FOLDER = Path(__file__).parent.parent.parent / "monitoring"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]


def series():
    """The names of all series, with their labels."""
    found = {}
    for made in vars(metrics).values():
        if isinstance(made, MetricWrapperBase):
            labels = {*made._labelnames, "instance", "job"}
            (described,) = made.describe()
            endings = {"counter": ["_total"], "histogram": ["_count", "_sum", "_bucket"]}
            for ending in endings.get(described.type, [""]):
                found[described.name + ending] = labels | ({"le"} if ending == "_bucket" else set())
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_existing_metrics_and_labels(expression):
    known = series()
    names = re.findall(r"\bwarmstart_\w+", expression)
    assert names or expression.startswith("up{")
    assert set(names) <= known.keys()
    for name, inside in re.findall(r"(warmstart_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)[=!]", inside)) <= known[name]
    for grouped in re.findall(r"by \(([^)]*)\)", expression):
        labels = {label.strip() for label in grouped.split(",")}
        assert labels <= set().union(*(known[name] for name in names))


def test_every_metric_that_tells_a_fault_has_an_alert():
    alerted = " ".join(rule["expr"] for rule in RULES)
    for name in ("stalled_seconds", "behind_changes", "leads", "oldest_waiting_seconds", "model"):
        assert f"warmstart_{name}" in alerted
    for name in ("failed_swaps", "damaged_encodings", "changes_set_aside"):
        assert f"warmstart_{name}_total" in alerted


def test_the_panels_do_not_overlap():
    places = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not mine & places
        places |= mine
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("command", ["check rules alerts.yaml", "test rules alerts_test.yaml"])
def test_prometheus_accepts_the_rules(command):
    done = subprocess.run(
        ["promtool", *command.split()], cwd=FOLDER, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""Every way into Patchwarden. Each handler is one call; what happens stands in chalicelib."""

from __future__ import annotations

from typing import Any

from chalice.app import Chalice, CloudWatchEvent, Rate

from chalicelib import api, wiring
from chalicelib.core.events import EVENT_PATTERNS
from chalicelib.pages.routes import routes as pages

app = Chalice(app_name="patchwarden", configure_logs=False)
app.register_blueprint(api.routes)
app.register_blueprint(pages)


@app.on_cw_event(EVENT_PATTERNS["on_config_rule"], name="on_config_rule")
def on_config_rule(event: CloudWatchEvent) -> dict[str, Any]:
    """A Config rule changed its mind about the patches or associations of a node."""
    return wiring.receive(event.to_dict())


@app.on_cw_event(EVENT_PATTERNS["on_ssm_compliance"], name="on_ssm_compliance")
def on_ssm_compliance(event: CloudWatchEvent) -> dict[str, Any]:
    """Systems Manager changed the compliance of a node."""
    return wiring.receive(event.to_dict())


@app.on_cw_event(EVENT_PATTERNS["on_execution"], name="on_execution")
def on_execution(event: CloudWatchEvent) -> dict[str, Any]:
    """An automation execution changed its status."""
    return wiring.follow(event.to_dict())


@app.on_cw_event(EVENT_PATTERNS["on_node_state"], name="on_node_state")
def on_node_state(event: CloudWatchEvent) -> dict[str, Any]:
    """An EC2 instance stopped, started or was terminated."""
    return wiring.receive(event.to_dict())


@app.schedule(Rate(1, unit=Rate.MINUTES), name="on_dispatch")
def on_dispatch(event: CloudWatchEvent) -> dict[str, Any]:
    """Every minute: wake what is due and start what may start."""
    return wiring.dispatch()


@app.schedule(Rate(15, unit=Rate.MINUTES), name="on_sweep")
def on_sweep(event: CloudWatchEvent) -> dict[str, Any]:
    """Every quarter of an hour: find what events missed, finish what a crash left."""
    return wiring.sweep()


@app.schedule(Rate(5, unit=Rate.MINUTES), name="on_schedules")
def on_schedules(event: CloudWatchEvent) -> dict[str, Any]:
    """Every five minutes: start what the calendar says and follow what it started."""
    return wiring.schedules()


@app.schedule(Rate(1, unit=Rate.HOURS), name="on_checkpoint")
def on_checkpoint(event: CloudWatchEvent) -> dict[str, Any]:
    """Every hour: sign what the trails look like."""
    return wiring.checkpoint()


@app.schedule(Rate(1, unit=Rate.DAYS), name="on_export")
def on_export(event: CloudWatchEvent) -> dict[str, Any]:
    """Every day: copy the trail of the days that are over to the evidence bucket."""
    return wiring.export()


@app.lambda_function(name="remediate")
def remediate(event: Any, context: Any) -> dict[str, Any]:
    """An operator or a Config remediation action asks for one node."""
    return wiring.request(event)
